//! moka, and only here. STUB.
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
/// A bounded in-memory cache: weight in bytes, optional time to live. Cheap to clone.
#[derive(Clone)]
pub struct Cache<K, V> {
    _p: Arc<std::marker::PhantomData<(K, V)>>,
}
impl<K: Hash + Eq + Send + Sync + 'static, V: Clone + Send + Sync + 'static> Cache<K, V> {
    /// `weigh` gives an entry's bytes; 100 are added per entry.
    pub fn new(_max_bytes: u64, _ttl: Option<Duration>, _weigh: fn(&K, &V) -> usize) -> Self {
        todo!()
    }
    pub fn get(&self, _k: &K) -> Option<V> {
        todo!()
    }
    pub fn insert(&self, _k: K, _v: V) {
        todo!()
    }
    pub fn remove(&self, _k: &K) {
        todo!()
    }
    pub fn clear(&self) {
        todo!()
    }
    /// entries, bytes, hits, misses
    pub fn counters(&self) -> Counters {
        todo!()
    }
}
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    pub entries: u64,
    pub bytes: u64,
    pub hits: u64,
    pub misses: u64,
}
