//! Keys on their way from a scan to a reply: one behind the other in one piece of memory, however many they are.

/// Room that a scan's first keys find, so that a usual step need not grow.
const ROOM_BYTES: usize = 2 * 1024;
const ROOM_COUNT: usize = 128;

/// See the module.
#[derive(Debug, Default)]
pub struct Keys {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Keys {
    /// None yet, with room for those of a usual step.
    pub fn with_room() -> Keys {
        Keys { bytes: Vec::with_capacity(ROOM_BYTES), ends: Vec::with_capacity(ROOM_COUNT) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of all together.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Add one.
    pub fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    /// All, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }
}

impl<'a> Extend<&'a [u8]> for Keys {
    fn extend<I: IntoIterator<Item = &'a [u8]>>(&mut self, keys: I) {
        keys.into_iter().for_each(|key| self.push(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_out_as_they_went_in() {
        let all: [&[u8]; 4] = [b"one", b"", b"three", b"\0"];
        let mut keys = Keys::default();
        assert!(keys.is_empty() && keys.iter().next().is_none());
        keys.push(all[0]);
        keys.extend(all[1..].iter().copied());
        assert_eq!((keys.len(), keys.bytes()), (4, 9));
        assert!(keys.iter().eq(all));
    }
}
