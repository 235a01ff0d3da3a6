//! Histories written by hand: times in milliseconds, and a client of its own for each operation unless one is named.

#![allow(dead_code, reason = "each test uses some of it")]

use talon_history::{Action, Consistency, Deadline, History, Operation, Outcome, Reply, Ttl};

#[derive(Clone, Default)]
pub struct Script {
    pub history: History,
}

impl Script {
    pub fn new() -> Script {
        Script::default()
    }

    pub fn add(mut self, called_ms: u64, returned_ms: Option<u64>, action: Action, outcome: Outcome) -> Script {
        let client = 1000 + self.history.len() as u32;
        let id = self.history.call(client, None, called_ms * 1000, action);
        if let Some(returned_ms) = returned_ms {
            self.history.returned(id, returned_ms * 1000, outcome);
        }
        self
    }

    pub fn reply(self, called_ms: u64, returned_ms: u64, action: Action, reply: Reply) -> Script {
        self.add(called_ms, Some(returned_ms), action, Outcome::Reply(reply))
    }

    pub fn ok(self, called_ms: u64, returned_ms: u64, action: Action) -> Script {
        self.reply(called_ms, returned_ms, action, Reply::Ok)
    }

    pub fn nil(self, called_ms: u64, returned_ms: u64, action: Action) -> Script {
        self.reply(called_ms, returned_ms, action, Reply::Nil)
    }

    pub fn int(self, called_ms: u64, returned_ms: u64, action: Action, number: i64) -> Script {
        self.reply(called_ms, returned_ms, action, Reply::Int(number))
    }

    pub fn bytes(self, called_ms: u64, returned_ms: u64, action: Action, value: &str) -> Script {
        self.reply(called_ms, returned_ms, action, Reply::Bytes(value.into()))
    }

    pub fn refused(self, called_ms: u64, returned_ms: u64, action: Action) -> Script {
        self.add(called_ms, Some(returned_ms), action, Outcome::Refused("CLUSTERDOWN".into()))
    }

    pub fn unknown(self, called_ms: u64, action: Action) -> Script {
        self.add(called_ms, None, action, Outcome::Unknown("timeout".into()))
    }

    /// Changes the operation that was added last.
    pub fn with(mut self, change: impl FnOnce(&mut Operation)) -> Script {
        let last = self.history.len() as u64 - 1;
        change(self.history.operation_mut(last));
        self
    }

    /// The last operation is a session read of this client.
    pub fn session(self, client: u32) -> Script {
        self.by(client).with(|operation| operation.consistency = Consistency::Session)
    }

    /// The last operation is this client's.
    pub fn by(self, client: u32) -> Script {
        self.with(|operation| operation.client = client)
    }
}

pub fn set_for_ms(key: &str, value: &str, ms: i64) -> Action {
    let ttl = Some(Ttl::Until(Deadline::AfterMs(ms)));
    Action::Set { key: key.into(), value: value.into(), ttl, condition: None, get: false }
}
