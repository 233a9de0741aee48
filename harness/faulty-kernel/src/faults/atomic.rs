//! An atomic commit, its properties by name.
//!
//! Source: `struct drm_mode_atomic` in `include/uapi/drm/drm_mode.h`.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::call::Call;
use crate::fields::{Fields, both};
use crate::perform::perform;

/// `DRM_IOCTL_MODE_ATOMIC`.
pub(super) const ATOMIC: u32 = both(b'd', 0xbc, 56);
/// `DRM_IOCTL_MODE_GETPROPERTY`.
const GETPROPERTY: u32 = both(b'd', 0xaa, 64);
/// `DRM_MODE_ATOMIC_TEST_ONLY`.
pub(super) const TEST_ONLY: u32 = 0x100;

/// `struct drm_mode_atomic`.
const COUNT: usize = 4;
const OBJECTS: usize = 8;
const COUNTS: usize = 16;
const PROPERTIES: usize = 24;
const VALUES: usize = 32;

/// Names of properties, by card and number.
static NAMES: LazyLock<Mutex<HashMap<(u64, u32), String>>> = LazyLock::new(Mutex::default);

/// What a commit sets.
pub(super) struct Request<'a> {
    pub(super) call: &'a Call<'a>,
    card: OwnedFd,
    /// Number of the card.
    device: u64,
    structure: Fields,
    /// Object, property and value.
    set: Vec<(u32, u32, u64)>,
}

impl<'a> Request<'a> {
    pub(super) fn read(call: &'a Call<'a>) -> io::Result<Self> {
        let structure = call.structure()?;
        let card = call.device()?;
        let device = rustix::fs::fstat(&card)?.st_rdev;
        let words = |offset: usize, count: usize| -> io::Result<Vec<u32>> {
            let bytes = call.read(structure.u64(offset), 4 * count)?;
            Ok(bytes.as_chunks().0.iter().map(|word| u32::from_ne_bytes(*word)).collect())
        };
        let count = structure.u32(COUNT) as usize;
        let (objects, counts) = (words(OBJECTS, count)?, words(COUNTS, count)?);
        let total = counts.iter().sum::<u32>() as usize;
        let properties = words(PROPERTIES, total)?;
        let values = call.read(structure.u64(VALUES), 8 * total)?;
        let values = values.as_chunks().0.iter().map(|value| u64::from_ne_bytes(*value));
        let of = std::iter::zip(objects, counts).flat_map(|(object, n)| std::iter::repeat_n(object, n as usize));
        let set = of.zip(properties).zip(values).map(|((object, property), value)| (object, property, value)).collect();
        Ok(Self { call, card, device, structure, set })
    }

    /// Whether nothing is to be shown.
    pub(super) fn is_test(&self) -> bool {
        self.structure.u32(0) & TEST_ONLY != 0
    }

    /// The objects, each once.
    pub(super) fn objects(&self) -> Vec<u32> {
        let mut objects: Vec<u32> = self.set.iter().map(|(object, ..)| *object).collect();
        objects.sort_unstable();
        objects.dedup();
        objects
    }

    /// What the commit sets a property of `object` to, if it does.
    pub(super) fn value(&self, object: u32, name: &str) -> io::Result<Option<u64>> {
        Ok(self.find(object, name)?.map(|at| self.set[at].2))
    }

    /// Has it set to something else.
    pub(super) fn set(&mut self, object: u32, name: &str, value: u64) -> io::Result<()> {
        if let Some(at) = self.find(object, name)? {
            self.set[at].2 = value;
        }
        Ok(())
    }

    fn find(&self, object: u32, name: &str) -> io::Result<Option<usize>> {
        for (at, (of, property, _)) in self.set.iter().enumerate() {
            if *of == object && self.name(*property)? == name {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn name(&self, property: u32) -> io::Result<String> {
        const ID: usize = 16;
        const NAME: usize = 24;
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = names.get(&(self.device, property)) {
            return Ok(name.clone());
        }
        let mut asked = Fields::zeroed(64);
        perform(self.card.as_fd(), GETPROPERTY, asked.set_u32(ID, property))?;
        let name: Vec<u8> = asked.0[NAME..NAME + 32].iter().copied().take_while(|byte| *byte != 0).collect();
        let name = String::from_utf8_lossy(&name).into_owned();
        names.insert((self.device, property), name.clone());
        Ok(name)
    }

    /// Writes the values back to where the caller has them.
    pub(super) fn write(&self) -> io::Result<()> {
        let values: Vec<u8> = self.set.iter().flat_map(|(_, _, value)| value.to_ne_bytes()).collect();
        self.call.write(self.structure.u64(VALUES), &values)
    }
}
