//! Memory that all connections of a run share: what each of them holds is counted, and what is too much together is not
//! kept.

/// Bytes that are held at once, over all connections.
const ROOM: usize = 512 << 20;

/// What all hold together.
#[derive(Debug, Default)]
pub struct Room {
    held: usize,
}

impl Room {
    /// Bytes that may still be kept.
    pub fn left(&self) -> usize {
        ROOM.saturating_sub(self.held)
    }
}

/// What one of them holds.
#[derive(Debug, Default)]
pub struct Share {
    held: usize,
}

impl Share {
    /// It holds so many bytes now. False: all together hold too much.
    pub fn set(&mut self, held: usize, room: &mut Room) -> bool {
        room.held = room.held.saturating_sub(self.held).saturating_add(held);
        self.held = held;
        room.held <= ROOM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was given back would be missing for good, or more be kept than there is room.
    #[test]
    fn shares_add_up() {
        let mut room = Room::default();
        let (mut one, mut other) = (Share::default(), Share::default());
        assert!(one.set(ROOM - 10, &mut room));
        assert!(other.set(10, &mut room));
        assert_eq!(room.left(), 0);
        assert!(!other.set(11, &mut room));
        assert!(one.set(0, &mut room));
        assert_eq!(room.left(), ROOM - 11);
        assert!(other.set(0, &mut room));
        assert_eq!(room.left(), ROOM);
    }
}
