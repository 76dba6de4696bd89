//! The upstreams that there are: those of the configuration, which are read-only here, and those that were added, each a row.
//!
//! A pull looks them up in memory, without a lock and without the store. A change is one transaction; the look-ups know it
//! before it is answered.

mod known;
mod rows;

pub use known::ListedUpstream;

use crate::store::cause::carried;
use crate::store::{Lane, Need, Store, Txn};
use crate::types::{RepoName, wall_ms};
use crate::upstream::error::UpstreamError;
use crate::upstream::one::Upstream;
use crate::upstream::rules;
use crate::upstream::settings::{UpstreamName, UpstreamOrigin, UpstreamSettings};
use arc_swap::ArcSwap;
use known::Known;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What `app` sets.
#[derive(Debug, Clone, Default)]
pub struct UpstreamOptions {
    /// Those of the configuration.
    pub configured: Vec<UpstreamSettings>,
    /// No upstream is asked.
    pub offline: bool,
}

/// The upstreams; cheap to clone.
#[derive(Clone)]
pub struct Upstreams {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    known: ArcSwap<Known>,
    offline: AtomicBool,
    /// What `known` is made of; held while that is made anew.
    parts: Mutex<Parts>,
}

struct Parts {
    configured: Vec<UpstreamSettings>,
    added: Vec<UpstreamSettings>,
}

impl Upstreams {
    /// The upstreams of a store and of the configuration. Blocks.
    ///
    /// # Errors
    /// [`UpstreamError::Setting`] or [`UpstreamError::Taken`] where the configuration's cannot be, else the store's.
    pub fn open(store: Store, options: UpstreamOptions) -> Result<Self, UpstreamError> {
        let parts = Parts {
            configured: configured(options.configured)?,
            added: store.read(|r| rows::all(r))?,
        };
        let known = parts.known(&Known::default());
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                known: ArcSwap::from_pointee(known),
                offline: AtomicBool::new(options.offline),
                parts: Mutex::new(parts),
            }),
        })
    }

    /// Takes over what the configuration says now; what did not change keeps its state.
    ///
    /// # Errors
    /// As [`Upstreams::open`]; all stays as it was.
    pub fn reconfigure(&self, options: UpstreamOptions) -> Result<(), UpstreamError> {
        let new = configured(options.configured)?;
        self.inner.make_anew(|parts| {
            parts.configured = new;
            Ok(())
        })?;
        self.inner.offline.store(options.offline, Ordering::Relaxed);
        Ok(())
    }

    /// Refuses a configuration that [`Upstreams::open`] would refuse.
    pub fn check(options: UpstreamOptions) -> Result<(), UpstreamError> {
        configured(options.configured).map(drop)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.inner.known.load().is_empty()
    }

    /// Whether no upstream at all is to be asked.
    pub fn is_offline(&self) -> bool {
        self.inner.offline.load(Ordering::Relaxed)
    }

    /// The upstream that a repository here belongs to: that of the longest prefix, in whole components.
    pub fn of(&self, name: &RepoName) -> Option<Arc<Upstream>> {
        let known = self.inner.known.load();
        if known.is_empty() {
            return None;
        }
        known.of_repo(name).cloned()
    }

    /// The upstream that `ns=HOST` means.
    pub fn of_namespace(&self, host: &str) -> Option<Arc<Upstream>> {
        let known = self.inner.known.load();
        if known.is_empty() {
            return None;
        }
        known.of_host(host).cloned()
    }

    /// The upstream at which bare names are looked for.
    pub fn default_upstream(&self) -> Option<Arc<Upstream>> {
        self.inner.known.load().default.clone()
    }

    /// Every upstream by name, and what is hidden by another one after that.
    pub fn list(&self) -> Vec<ListedUpstream> {
        self.inner.known.load().listed.clone()
    }

    /// The upstream of this name that counts.
    pub fn get(&self, name: &UpstreamName) -> Result<Arc<Upstream>, UpstreamError> {
        let known = self.inner.known.load();
        let found = known.get(name).cloned();
        found.ok_or_else(|| UpstreamError::Unknown(name.clone()))
    }

    /// The same as it is listed; where only a hidden one has the name, that.
    pub fn show(&self, name: &UpstreamName) -> Result<ListedUpstream, UpstreamError> {
        let listed = self.list().into_iter();
        let mut named = listed.filter(|one| one.upstream.settings.name == *name);
        named
            .next()
            .ok_or_else(|| UpstreamError::Unknown(name.clone()))
    }

    /// Adds an upstream.
    ///
    /// # Errors
    /// [`UpstreamError::Exists`] and [`UpstreamError::Taken`] where it gets in another's way.
    pub async fn add(
        &self,
        settings: UpstreamSettings,
        who: &str,
    ) -> Result<ListedUpstream, UpstreamError> {
        let (settings, who) = (rules::checked(settings)?, who.to_owned());
        let (name, at_ms, configured) = (settings.name.clone(), wall_ms(), self.configured());
        let add = move |tx: &mut Txn<'_>| {
            if rows::has(tx, &settings.name)? || is_among(&configured, &settings.name) {
                return Err(UpstreamError::Exists(settings.name.clone()));
            }
            let added = rows::all(tx)?;
            if added.len() >= rows::UPSTREAMS {
                return Err(UpstreamError::Many(added.len()));
            }
            apart(&settings, configured.iter().chain(&added))?;
            rows::put(tx, &settings)?;
            Ok(rows::tell(
                tx,
                &settings.name,
                at_ms,
                (&who, "upstream.add"),
            )?)
        };
        self.change(Need::Grows, "upstream.add", add).await?;
        self.show(&name)
    }

    /// Gives an added upstream other settings: `change` makes them of those that it has, and may run more than once.
    ///
    /// # Errors
    /// [`UpstreamError::Configured`] for one of the configuration, [`UpstreamError::Taken`] where it gets in another's way.
    pub async fn set(
        &self,
        name: &UpstreamName,
        who: &str,
        change: impl Fn(UpstreamSettings) -> UpstreamSettings + Send + 'static,
    ) -> Result<ListedUpstream, UpstreamError> {
        let (wanted, who, at_ms) = (name.clone(), who.to_owned(), wall_ms());
        let configured = self.configured();
        let set = move |tx: &mut Txn<'_>| {
            if is_among(&configured, &wanted) {
                return Err(UpstreamError::Configured(wanted.clone()));
            }
            let added = rows::all(tx)?;
            let own = added.iter().find(|one| one.name == wanted);
            let own = own.ok_or_else(|| UpstreamError::Unknown(wanted.clone()))?;
            let new = rules::checked(change(own.clone()))?;
            apart(&new, configured.iter().chain(&added))?;
            rows::put(tx, &new)?;
            Ok(rows::tell(tx, &wanted, at_ms, (&who, "upstream.set"))?)
        };
        self.change(Need::Keeps, "upstream.set", set).await?;
        self.show(name)
    }

    /// Removes an added upstream; what came from it stays.
    ///
    /// # Errors
    /// [`UpstreamError::Configured`] for one that stands in the configuration alone.
    pub async fn remove(&self, name: &UpstreamName, who: &str) -> Result<(), UpstreamError> {
        let (wanted, who, at_ms) = (name.clone(), who.to_owned(), wall_ms());
        let configured = self.configured();
        let remove = move |tx: &mut Txn<'_>| {
            if !rows::has(tx, &wanted)? {
                return Err(if is_among(&configured, &wanted) {
                    UpstreamError::Configured(wanted.clone())
                } else {
                    UpstreamError::Unknown(wanted.clone())
                });
            }
            rows::erase(tx, &wanted)?;
            Ok(rows::tell(tx, &wanted, at_ms, (&who, "upstream.remove"))?)
        };
        self.change(Need::Keeps, "upstream.remove", remove).await
    }

    fn configured(&self) -> Vec<UpstreamSettings> {
        self.inner.parts().configured.clone()
    }

    /// One transaction, and the look-ups made anew after it, also where its outcome is not known and where its caller goes away.
    async fn change(
        &self,
        need: Need,
        name: &'static str,
        change: impl FnMut(&mut Txn<'_>) -> Result<(), UpstreamError> + Send + 'static,
    ) -> Result<(), UpstreamError> {
        let inner = Arc::clone(&self.inner);
        let to_its_end = carried(async move {
            let done = inner.store.write(Lane::Request, need, name, change).await;
            let known = tokio::task::spawn_blocking(move || inner.read_anew()).await;
            done.and(known.map_err(|e| UpstreamError::Task(e.to_string()))?)
        });
        let done = tokio::spawn(to_its_end).await;
        done.map_err(|e| UpstreamError::Task(e.to_string()))?
    }
}

impl Inner {
    fn parts(&self) -> std::sync::MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the rows while no other does, so that none that is older comes after. Blocks.
    fn read_anew(&self) -> Result<(), UpstreamError> {
        self.make_anew(|parts| {
            parts.added = self.store.read(|r| rows::all(r))?;
            Ok(())
        })
    }

    fn make_anew(
        &self,
        change: impl FnOnce(&mut Parts) -> Result<(), UpstreamError>,
    ) -> Result<(), UpstreamError> {
        let mut parts = self.parts();
        change(&mut parts)?;
        let known = parts.known(&self.known.load());
        self.known.store(Arc::new(known));
        Ok(())
    }
}

impl Parts {
    fn known(&self, before: &Known) -> Known {
        let known = Known::of(&self.configured, &self.added, before);
        for one in known.listed.iter().filter(|one| one.hidden) {
            let note = one.note.as_deref().unwrap_or_default();
            tracing::warn!(upstream = %one.upstream.settings.name, note, "an upstream that was added does not count");
        }
        known
    }
}

/// Those of the configuration, each as it is kept, none in another's way.
fn configured(all: Vec<UpstreamSettings>) -> Result<Vec<UpstreamSettings>, UpstreamError> {
    let mut kept: Vec<UpstreamSettings> = Vec::with_capacity(all.len());
    for one in all {
        let name = one.name.clone();
        let one = rules::checked(one).map_err(|error| match error {
            UpstreamError::Setting(text) => {
                UpstreamError::Setting(format!("upstream {name}: {text}"))
            }
            other => other,
        })?;
        if is_among(&kept, &name) {
            return Err(UpstreamError::Exists(name));
        }
        apart(&one, kept.iter())?;
        kept.push(one);
    }
    Ok(kept)
}

fn is_among(all: &[UpstreamSettings], name: &UpstreamName) -> bool {
    all.iter().any(|one| one.name == *name)
}

/// Refuses what another upstream has that only one can have. Prefixes may lie within each other.
fn apart<'a>(
    new: &UpstreamSettings,
    others: impl Iterator<Item = &'a UpstreamSettings>,
) -> Result<(), UpstreamError> {
    for other in others.filter(|other| other.name != new.name) {
        let taken = |what: String| {
            Err(UpstreamError::Taken {
                what,
                by: other.name.clone(),
            })
        };
        if other.prefix == new.prefix {
            return taken(format!("the prefix {}", new.prefix));
        }
        if other.default && new.default {
            return taken("the place of the default".to_owned());
        }
        let mut both = new.namespaces.iter();
        if let Some(host) = both.find(|host| other.namespaces.contains(*host)) {
            return taken(format!("{host}, which ns may name,"));
        }
    }
    Ok(())
}

impl ListedUpstream {
    /// Whether its settings stand in the configuration.
    pub fn is_configured(&self) -> bool {
        self.upstream.origin == UpstreamOrigin::Configuration
    }
}

#[cfg(test)]
#[path = "../tests/table.rs"]
mod tests;
