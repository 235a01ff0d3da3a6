//! `SET key value [NX | XX | IFEQ comparison | IFNE comparison] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::commands::strings::options::{Expiry, Form, Options};
use crate::error::Error;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static SET: Command = Command {
    id: 2,
    kind: Kind::Write,
    facts: Facts {
        name: "set",
        arity: -3,
        flags: &[Flag::Write, Flag::Denyoom],
        keys: KeySpec::FIRST,
        group: Group::String,
        summary: "Stores a value under a key, if wished only when the key exists, does not, or has a given value or another one, and with an end.",
        since: "1.0.0",
        complexity: "O(1)",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let (key, value) = (&args[0], &args[1]);
    let options = Options::parse(&args[2..], Form::Set)?;
    let deadline_ms = options.expiry.deadline_ms(transaction, "set")?;
    let needs_old = options.get || options.condition.is_some() || options.expiry == Expiry::Keep;
    let old = if needs_old { transaction.get(key)? } else { None };
    let allowed = options.condition.is_none_or(|condition| condition.allows(old.as_ref()));
    if allowed {
        let kept_ms =
            if options.expiry == Expiry::Keep { old.as_ref().map(|record| record.expire_at_ms) } else { None };
        transaction.put(key, value.clone(), deadline_ms.or(kept_ms).unwrap_or(0))?;
    }
    Ok(match (options.get, allowed) {
        (true, _) => Reply::from(old.map(|record| record.value)),
        (false, true) => Reply::Ok,
        (false, false) => Reply::Null,
    })
}
