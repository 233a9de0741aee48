//! Small programs over the core: what must hold at their every step is asserted in the storage that they use.

use std::time::Duration;

use handover::format::{Fourcc, Modifier};
use handover::share::constraints::{Constraints, FormatModifier, MemoryNeeds, Party};
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use crate::share::core::{Access, AttachmentId, Backing, Core};
use crate::share::refused::ShareError;
use crate::share::sync::DEADLINES;

/// Not used by the programs' clock, which is chance.
pub(crate) const SOON: Duration = Duration::from_secs(1);

/// Storage that notices when it is used after it was left, or left while it is used.
#[derive(Default)]
struct Cells {
    contiguous: bool,
    value: Mutex<u64>,
    users: AtomicUsize,
    left: AtomicBool,
}

/// Storage is contiguous if a party asks for that.
#[derive(Default)]
struct Model {
    made: AtomicUsize,
    /// So many allocations fail, the first ones after the first.
    failures: AtomicUsize,
}

impl Backing for Model {
    type Storage = Cells;

    fn check(&self, _: &[Party], _: Option<&Cells>) -> Result<(), ShareError> {
        Ok(())
    }

    fn allocate(&self, parties: &[Party], now: Option<&Cells>) -> Result<Cells, ShareError> {
        thread::yield_now();
        if now.is_some() && self.failures.load(SeqCst) > 0 {
            self.failures.fetch_sub(1, SeqCst);
            return Err(ShareError::NoStorage(Vec::new()));
        }
        self.made.fetch_add(1, SeqCst);
        Ok(Cells { contiguous: parties.iter().any(|party| party.constraints.memory.contiguous), ..Cells::default() })
    }

    fn suits(&self, storage: &Cells, party: &Party) -> Result<(), String> {
        let suits = storage.contiguous || !party.constraints.memory.contiguous;
        if suits { Ok(()) } else { Err("not contiguous".to_owned()) }
    }

    fn relocate(&self, from: &Cells, to: &Cells) -> Result<(), ShareError> {
        assert_eq!(from.users.load(SeqCst), 0, "storage moves while it is mapped");
        let value = *from.value.lock().unwrap();
        thread::yield_now();
        assert_eq!(from.users.load(SeqCst), 0, "storage was mapped while it moved");
        *to.value.lock().unwrap() = value;
        assert!(!from.left.swap(true, SeqCst), "storage is moved away from twice");
        Ok(())
    }
}

fn party(name: &str, contiguous: bool) -> Party {
    let format = FormatModifier { fourcc: Fourcc::XR24, modifier: Modifier::LINEAR, planes: 1 };
    let memory = MemoryNeeds { contiguous, ..MemoryNeeds::ANY };
    Party { name: name.to_owned(), constraints: Constraints { memory, ..Constraints::of(vec![format]) } }
}

/// Maps, does `work` on the value, and unmaps; `false` if the map timed out.
fn with_mapping(core: &Core<Model>, id: AttachmentId, work: impl FnOnce(&mut u64)) -> bool {
    let granted = match core.map(id, Access::Write, SOON, SOON) {
        Ok(granted) => granted,
        Err(ShareError::Busy(_)) if DEADLINES.get() => return false,
        Err(error) => panic!("{error}"),
    };
    let cells = &granted.storage;
    cells.users.fetch_add(1, SeqCst);
    assert!(!cells.left.load(SeqCst), "a mapping shows storage that was left");
    work(&mut cells.value.lock().unwrap());
    thread::yield_now();
    assert!(!cells.left.load(SeqCst), "storage moved under a mapping");
    cells.users.fetch_sub(1, SeqCst);
    core.unmap(granted.id).unwrap();
    true
}

/// Explores `program` without and with deadlines.
pub(crate) fn explore(program: impl Fn() + Copy + Send + Sync + 'static) {
    for deadlines in [false, true] {
        let program = move || {
            DEADLINES.set(deadlines);
            program();
        };
        shuttle::check_random(program, 1_000);
        shuttle::check_pct(program, 1_000, 3);
    }
}

/// One thread is enough here: what a number stood for is gone once it has ended, and is said to be.
#[test]
fn what_has_ended_does_not_end_again() {
    shuttle::check_random(
        || {
            DEADLINES.set(false);
            let core = Core::new(Model::default());
            let [one, other] = ["one", "other"].map(|name| core.attach(party(name, false), SOON).unwrap());
            let is_unknown = |id| matches!(core.map(id, Access::Read, SOON, SOON), Err(ShareError::NotAttached(_)));
            let granted = core.map(one, Access::Read, SOON, SOON).unwrap();
            assert!(matches!(core.detach(one), Err(ShareError::StillMapped(_))));
            core.unmap(granted.id).unwrap();
            assert!(matches!(core.unmap(granted.id), Err(ShareError::NotMapped(_))));
            core.detach(one).unwrap();
            assert_eq!(core.parties().len(), 1);
            assert!(matches!(core.detach(one), Err(ShareError::NotAttached(_))));
            assert!(is_unknown(one));
            // Who leaves while it has a mapping takes part no more, and keeps what it maps.
            let granted = core.map(other, Access::Read, SOON, SOON).unwrap();
            core.leave(other);
            assert_eq!((core.parties().len(), core.mappings()), (0, 1));
            assert!(is_unknown(other));
            core.unmap(granted.id).unwrap();
            assert_eq!(core.mappings(), 0);
        },
        1,
    );
}

#[test]
fn storage_is_made_once_however_many_map_first() {
    explore(|| {
        let core = Arc::new(Core::new(Model::default()));
        let ids: Vec<_> = (0..3).map(|n| core.attach(party(&format!("{n}"), false), SOON).unwrap()).collect();
        let mappers: Vec<_> = ids
            .into_iter()
            .map(|id| {
                let core = core.clone();
                thread::spawn(move || with_mapping(&core, id, |value| *value += 1))
            })
            .collect();
        let mapped = mappers.into_iter().map(|mapper| mapper.join().unwrap()).filter(|mapped| *mapped).count();
        assert_eq!(core.backing().made.load(SeqCst), 1);
        assert_eq!(*core.storage().unwrap().value.lock().unwrap(), mapped as u64);
        assert_eq!(core.mappings(), 0);
    });
}

#[test]
fn a_stricter_device_moves_storage_only_between_mappings_and_nothing_is_lost() {
    explore(|| {
        let core = Arc::new(Core::new(Model::default()));
        let ids: Vec<_> = (0..2).map(|n| core.attach(party(&format!("{n}"), false), SOON).unwrap()).collect();
        let writers: Vec<_> = ids
            .into_iter()
            .map(|id| {
                let core = core.clone();
                thread::spawn(move || (0..2).filter(|_| with_mapping(&core, id, |value| *value += 1)).count())
            })
            .collect();
        let strict = {
            let core = core.clone();
            thread::spawn(move || match core.attach(party("strict", true), SOON) {
                Ok(id) => usize::from(with_mapping(&core, id, |value| *value += 1)),
                Err(ShareError::Busy(_)) if DEADLINES.get() => 0,
                Err(error) => panic!("{error}"),
            })
        };
        let written: usize = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        let written = written + strict.join().unwrap();
        let storage = core.storage();
        let value = storage.map_or(0, |storage| *storage.value.lock().unwrap());
        assert_eq!(value, written as u64, "a write was lost");
        assert_eq!(core.mappings(), 0);
        assert!(core.moves().len() <= 1);
    });
}

#[test]
fn moves_that_come_at_once_follow_each_other() {
    explore(|| {
        let core = Arc::new(Core::new(Model::default()));
        let id = core.attach(party("first", false), SOON).unwrap();
        assert!(with_mapping(&core, id, |value| *value = 7) || DEADLINES.get());
        let movers: Vec<_> = (0..2)
            .map(|n| {
                let core = core.clone();
                thread::spawn(move || {
                    let moved =
                        if n == 0 { core.relocate(SOON) } else { core.attach(party("strict", true), SOON).map(drop) };
                    assert!(moved.is_ok() || DEADLINES.get());
                })
            })
            .collect();
        with_mapping(&core, id, |value| *value += 1);
        movers.into_iter().for_each(|mover| mover.join().unwrap());
        assert!(
            with_mapping(&core, id, |value| assert!((7..=8).contains(value) || DEADLINES.get())) || DEADLINES.get()
        );
    });
}

#[test]
fn a_move_that_fails_leaves_everything_as_it_was() {
    explore(|| {
        let core = Arc::new(Core::new(Model { failures: AtomicUsize::new(1), ..Model::default() }));
        let id = core.attach(party("first", false), SOON).unwrap();
        let storage = loop {
            if with_mapping(&core, id, |value| *value = 7) {
                break core.storage().unwrap();
            }
        };
        let mapper = {
            let core = core.clone();
            thread::spawn(move || with_mapping(&core, id, |value| *value += 1))
        };
        let refused = core.attach(party("strict", true), SOON);
        assert!(matches!(refused, Err(ShareError::NoStorage(_) | ShareError::Busy(_))));
        let mapped = mapper.join().unwrap();
        assert!(Arc::ptr_eq(&storage, &core.storage().unwrap()));
        assert_eq!(*storage.value.lock().unwrap(), 7 + u64::from(mapped));
        assert_eq!((core.parties().len(), core.generation(), core.moves().len()), (1, 1, 0));
    });
}

#[test]
fn who_leaves_while_storage_moves_is_gone_with_its_last_mapping() {
    explore(|| {
        let core = Arc::new(Core::new(Model::default()));
        let staying = core.attach(party("staying", false), SOON).unwrap();
        let leaving = core.attach(party("leaving", false), SOON).unwrap();
        let leaver = {
            let core = core.clone();
            thread::spawn(move || {
                let granted = core.map(leaving, Access::Read, SOON, SOON);
                core.leave(leaving);
                if let Ok(granted) = granted {
                    assert!(matches!(
                        core.map(leaving, Access::Read, SOON, SOON),
                        Err(ShareError::NotAttached(_) | ShareError::Busy(_))
                    ));
                    core.unmap(granted.id).unwrap();
                }
            })
        };
        let strict = core.attach(party("strict", true), SOON);
        assert!(strict.is_ok() || DEADLINES.get());
        leaver.join().unwrap();
        assert_eq!(core.parties().len(), 1 + usize::from(strict.is_ok()));
        with_mapping(&core, staying, |_| ());
        assert_eq!(core.mappings(), 0);
    });
}
