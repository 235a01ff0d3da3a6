//! What a client may send or do to harm a node and its other clients. Every attempt is made on the real process; after each,
//! another client is served.

mod floods;
mod frames;
mod growth;
mod text;
mod work;
