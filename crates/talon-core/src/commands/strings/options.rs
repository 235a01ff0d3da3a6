//! The options that SET, GETEX and DELEX share.

use bytes::Bytes;

use crate::commands::deadline::{Base, Unit, deadline_ms};
use crate::error::{Refusal, SYNTAX};
use crate::transaction::Transaction;
use crate::value::Record;

/// Whose options are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Set,
    Getex,
}

/// When SET may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// `XX`
    Exists,
    /// `NX`
    Missing,
    /// `IFEQ`: the key exists and has this value.
    Equals(Bytes),
    /// `IFNE`: the key has another value, or none.
    Differs(Bytes),
}

impl Condition {
    /// `IFEQ` or `IFNE` with what is compared with.
    pub(super) fn comparison(name: &[u8], value: &Bytes) -> Option<Condition> {
        if name.eq_ignore_ascii_case(b"IFEQ") {
            Some(Condition::Equals(value.clone()))
        } else if name.eq_ignore_ascii_case(b"IFNE") {
            Some(Condition::Differs(value.clone()))
        } else {
            None
        }
    }

    /// Whether it holds for what is under the key.
    pub(super) fn allows(&self, old: Option<&Record>) -> bool {
        match (self, old) {
            (Condition::Missing, old) => old.is_none(),
            (Condition::Exists, old) => old.is_some(),
            (Condition::Equals(value), old) => old.is_some_and(|record| record.value == *value),
            (Condition::Differs(value), old) => old.is_none_or(|record| record.value != *value),
        }
    }
}

/// What becomes of the TTL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// Nothing was said.
    Unset,
    /// `KEEPTTL`
    Keep,
    /// `PERSIST`
    Persist,
    /// `EX`, `PX`, `EXAT` or `PXAT`
    Given { unit: Unit, base: Base, amount: Bytes },
}

impl Expiry {
    /// The absolute time that was given, if one was.
    pub(super) fn deadline_ms(&self, transaction: &Transaction<'_>, name: &str) -> Result<Option<u64>, Refusal> {
        match self {
            Expiry::Given { unit, base, amount } => deadline_ms(transaction, amount, *unit, *base, name).map(Some),
            _ => Ok(None),
        }
    }

    /// As in Redis, an option may be repeated, and the last one counts; but different ones exclude each other.
    fn replace(&mut self, new: Expiry) -> Result<(), Refusal> {
        let same = match (&*self, &new) {
            (Expiry::Unset, _) => true,
            (Expiry::Given { unit, base, .. }, Expiry::Given { unit: new_unit, base: new_base, .. }) => {
                unit == new_unit && base == new_base
            }
            (old, new) => old == new,
        };
        if !same {
            return Err(SYNTAX);
        }
        *self = new;
        Ok(())
    }
}

/// The options of one SET or GETEX.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) condition: Option<Condition>,
    pub(super) get: bool,
    pub(super) expiry: Expiry,
}

impl Options {
    pub(super) fn parse(mut args: &[Bytes], form: Form) -> Result<Options, Refusal> {
        let mut options = Options { condition: None, get: false, expiry: Expiry::Unset };
        while let [option, rest @ ..] = args {
            args = rest;
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            match form {
                Form::Set if is("NX") => options.require(Condition::Missing)?,
                Form::Set if is("XX") => options.require(Condition::Exists)?,
                Form::Set if is("GET") => options.get = true,
                Form::Set if is("KEEPTTL") => options.expiry.replace(Expiry::Keep)?,
                Form::Set if is("IFEQ") || is("IFNE") => {
                    // As in Redis 8.4; unlike the others they may not even be repeated.
                    let ([value, rest @ ..], None) = (rest, &options.condition) else { return Err(SYNTAX) };
                    args = rest;
                    options.condition = Condition::comparison(option, value);
                }
                Form::Getex if is("PERSIST") => options.expiry.replace(Expiry::Persist)?,
                _ => {
                    let (unit, base) = time_option(option).ok_or(SYNTAX)?;
                    let [amount, rest @ ..] = rest else { return Err(SYNTAX) };
                    args = rest;
                    options.expiry.replace(Expiry::Given { unit, base, amount: amount.clone() })?;
                }
            }
        }
        Ok(options)
    }

    fn require(&mut self, condition: Condition) -> Result<(), Refusal> {
        if self.condition.as_ref().is_some_and(|other| *other != condition) {
            return Err(SYNTAX);
        }
        self.condition = Some(condition);
        Ok(())
    }
}

fn time_option(option: &[u8]) -> Option<(Unit, Base)> {
    let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
    if is("EX") {
        Some((Unit::Seconds, Base::Now))
    } else if is("PX") {
        Some((Unit::Milliseconds, Base::Now))
    } else if is("EXAT") {
        Some((Unit::Seconds, Base::Epoch))
    } else if is("PXAT") {
        Some((Unit::Milliseconds, Base::Epoch))
    } else {
        None
    }
}
