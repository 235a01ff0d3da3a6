//! Where nodes forward, a client may take any of them for its leader: as one that asks for linearizable reads, or as a plain program that stays
//! with one node and finds its own writes there.

use talon_history::{Consistency, Value};

use super::{Client, Level, NUMBERS, exchange};

/// How many of a hundred connections are to any node, where that may be.
const ANYWHERE_PERCENT: u64 = 70;

/// What a client has for its connection to the leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Door {
    /// That.
    #[default]
    Leader,
    /// One to any node. All reads are to be linearizable.
    Anywhere,
    /// One to any node, which answers plain reads itself: a session that lasts as long as the connection.
    Session,
}

impl Door {
    pub(super) fn is_session(self) -> bool {
        self == Door::Session
    }

    /// What a read there is promised. Of what was sent at once, nobody knows which came to the node together.
    pub(super) fn promises(self, alone: bool) -> Consistency {
        match self {
            Door::Session if alone => Consistency::Session,
            Door::Session => Consistency::Stale,
            Door::Leader | Door::Anywhere => Consistency::Linearizable,
        }
    }
}

impl Client {
    /// Whether the next connection may be to any node.
    pub(super) fn takes_any_node(&mut self) -> bool {
        self.world.plan.forwards && self.named.is_none() && self.random.below(100) < ANYWHERE_PERCENT
    }

    /// Connects to any node.
    pub(super) async fn enter_anywhere(&mut self) -> Result<(), String> {
        let node = self.someone();
        let (connection, _) = self.open(node, b"PING").await?;
        (self.leader, self.door) = (Some(connection), Door::Anywhere);
        // A session that goes from node to node carries its position, which this node knows nothing of.
        if self.session.is_none() && self.random.below(2) == 0 {
            self.sessions += 1;
            self.door = Door::Session;
            return Ok(());
        }
        self.ask_for_more().await
    }

    /// Reads on the connection to the leader are to be linearizable, whoever leads.
    pub(super) async fn ask_for_more(&mut self) -> Result<(), String> {
        let level = if self.random.below(2) == 0 { Level::Lease } else { Level::Linearizable };
        let mut values = Vec::new();
        exchange(&mut self.leader, &[level.command()], &mut values, self.connect_max).await;
        match values.pop() {
            Some(Value::Simple(_)) => Ok(()),
            other => {
                self.leader = None;
                Err(format!("no answer to the level: {other:?}"))
            }
        }
    }

    /// Its number in the history at its connection to the leader.
    pub(super) fn number_at_door(&self) -> u32 {
        match self.door.is_session() {
            true => self.number * NUMBERS + self.newest_session(),
            false => self.number(),
        }
    }
}
