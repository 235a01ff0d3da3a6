//! Reads numbers and slices, one after the other; what is not there is an error, never a panic.

use bytes::Bytes;

use crate::error::Fault;

/// Whoever reads much reads fast: only slices own what they show, all else is just looked at.
pub(crate) struct Reader<'a> {
    bytes: &'a Bytes,
    position: usize,
    /// What is read, for messages: "a log entry".
    whole: &'static str,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a Bytes, whole: &'static str) -> Reader<'a> {
        Reader { bytes, position: 0, whole }
    }

    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.position..]
    }

    pub fn array<const COUNT: usize>(&mut self, what: &str) -> Result<[u8; COUNT], Fault> {
        let array = *self.rest().first_chunk::<COUNT>().ok_or_else(|| self.ends_inside(what))?;
        self.position += COUNT;
        Ok(array)
    }

    pub fn byte(&mut self, what: &str) -> Result<u8, Fault> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub fn u32(&mut self, what: &str) -> Result<u32, Fault> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &str) -> Result<u64, Fault> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A slice behind its length (`u32`).
    pub fn slice(&mut self, what: &str) -> Result<Bytes, Fault> {
        let length = self.u32(what)? as usize;
        if self.rest().len() < length {
            return Err(self.ends_inside(what));
        }
        let slice = self.bytes.slice(self.position..self.position + length);
        self.position += length;
        Ok(slice)
    }

    /// Text behind its length (`u32`).
    pub fn text(&mut self, what: &str) -> Result<String, Fault> {
        let slice = self.slice(what)?;
        String::from_utf8(slice.into()).map_err(|_| self.broken(format!("a {what} that is no text")))
    }

    /// The version in front, which must not be newer than this build's.
    pub fn version(&mut self, newest: u8) -> Result<u8, Fault> {
        let version = self.byte("version")?;
        if version > newest {
            let whole = self.whole;
            return Err(Fault(format!("{whole} has format version {version}; this build reads up to {newest}")));
        }
        Ok(version)
    }

    /// Nothing may be left.
    pub fn end(&self) -> Result<(), Fault> {
        if self.rest().is_empty() {
            return Ok(());
        }
        Err(self.broken(format!("{} bytes behind its end", self.rest().len())))
    }

    /// It has what it must not have.
    pub fn broken(&self, what: String) -> Fault {
        Fault(format!("{} has {what}", self.whole))
    }

    fn ends_inside(&self, what: &str) -> Fault {
        Fault(format!("{} ends inside its {what}", self.whole))
    }
}
