//! Where Talon means to answer otherwise than Redis 7.0.
