//! A thing for each of the two who talk on a connection.

use super::Party;

/// One for each party.
#[derive(Clone, Debug, Default)]
pub(super) struct Both<T> {
    local: T,
    peer: T,
}

impl<T> Both<T> {
    /// Both made by the same function.
    pub(super) fn new(make: impl Fn() -> T) -> Self {
        Self {
            local: make(),
            peer: make(),
        }
    }

    /// That of `party`.
    pub(super) fn get(&self, party: Party) -> &T {
        match party {
            Party::Local => &self.local,
            Party::Peer => &self.peer,
        }
    }

    /// That of `party`.
    pub(super) fn get_mut(&mut self, party: Party) -> &mut T {
        match party {
            Party::Local => &mut self.local,
            Party::Peer => &mut self.peer,
        }
    }
}
