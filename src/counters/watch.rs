//! The keys that transactions watch, and their versions.
//!
//! A version is drawn anew from a count that only grows, so it never repeats, even for a key that is watched again.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// The watched keys of a shard.
#[derive(Default)]
pub struct Watched {
    keys: HashMap<Box<[u8]>, Watch, RandomState>,
    last_version: u64,
}

struct Watch {
    version: u64,
    watcher_count: u32,
}

impl Watched {
    /// One watcher more; answers the key's version.
    pub fn add(&mut self, key: &[u8]) -> u64 {
        if !self.keys.contains_key(key) {
            self.last_version += 1;
            self.keys.insert(key.into(), Watch { version: self.last_version, watcher_count: 0 });
        }
        let watch = self.keys.get_mut(key).expect("it was just put there");
        watch.watcher_count += 1;
        watch.version
    }

    /// One watcher fewer of a watched key.
    pub fn remove(&mut self, key: &[u8]) {
        let watch = self.keys.get_mut(key).expect("only who watches ends watching");
        watch.watcher_count -= 1;
        if watch.watcher_count == 0 {
            self.keys.remove(key);
        }
        if self.keys.is_empty() {
            self.keys = HashMap::default();
        }
    }

    /// The version of a watched key.
    pub fn version(&self, key: &[u8]) -> u64 {
        self.keys.get(key).expect("the key is watched").version
    }

    /// A key was changed.
    #[inline]
    pub fn touch(&mut self, key: &[u8]) {
        if !self.keys.is_empty() {
            self.touch_watched(key);
        }
    }

    /// All keys of which `exists` says so were changed.
    pub fn touch_all(&mut self, exists: impl Fn(&[u8]) -> bool) {
        for (key, watch) in &mut self.keys {
            if exists(key) {
                self.last_version += 1;
                watch.version = self.last_version;
            }
        }
    }

    #[cold]
    fn touch_watched(&mut self, key: &[u8]) {
        if let Some(watch) = self.keys.get_mut(key) {
            self.last_version += 1;
            watch.version = self.last_version;
        }
    }
}
