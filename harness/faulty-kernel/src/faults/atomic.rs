//! An atomic commit, its properties by name.
//!
//! Source: `struct drm_mode_atomic` in `include/uapi/drm/drm_mode.h`.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use rustix::io::Errno;

use crate::call::Call;
use crate::fields::{Fields, both};
use crate::perform::{own, perform};

/// `DRM_IOCTL_MODE_ATOMIC`.
pub(super) const ATOMIC: u32 = both(b'd', 0xbc, 56);
/// `DRM_IOCTL_MODE_GETPROPERTY`.
const GETPROPERTY: u32 = both(b'd', 0xaa, 64);
/// `DRM_IOCTL_MODE_OBJ_GETPROPERTIES`, of `struct drm_mode_obj_get_properties`.
const OBJ_GETPROPERTIES: u32 = both(b'd', 0xb9, 32);
/// `DRM_IOCTL_MODE_GETPLANERESOURCES`, of `struct drm_mode_get_plane_res`.
const GETPLANERESOURCES: u32 = both(b'd', 0xb5, 16);
/// More planes than a card has, and more properties than an object.
const MOST: usize = 64;
/// `DRM_MODE_ATOMIC_TEST_ONLY`.
pub(super) const TEST_ONLY: u32 = 0x100;

/// Properties with an address at which the kernel writes the number of a fence.
pub(super) const OUT_FENCE: &str = "OUT_FENCE_PTR";
pub(super) const WRITEBACK_OUT_FENCE: &str = "WRITEBACK_OUT_FENCE_PTR";

/// `struct drm_mode_atomic`.
const COUNT: usize = 4;
const OBJECTS: usize = 8;
const COUNTS: usize = 16;
const PROPERTIES: usize = 24;
const VALUES: usize = 32;

/// A fence that a commit makes.
pub(super) struct Fence {
    /// Where the caller has its number.
    pub(super) place: u64,
    /// The fence; none if the commit failed.
    pub(super) file: Option<OwnedFd>,
}

/// Names of properties, by card and number.
static NAMES: LazyLock<Mutex<HashMap<(u64, u32), String>>> = LazyLock::new(Mutex::default);

/// What a commit sets.
pub(super) struct Request<'a> {
    pub(super) call: &'a Call<'a>,
    pub(super) card: OwnedFd,
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

    /// Has a property set that the commit leaves alone; whether `object` has it.
    pub(super) fn add(&mut self, object: u32, name: &str, value: u64) -> io::Result<bool> {
        let Some((property, _)) = self.current(object, name)? else { return Ok(false) };
        let behind = self.set.iter().rposition(|(of, ..)| *of == object).map_or(self.set.len(), |at| at + 1);
        self.set.insert(behind, (object, property, value));
        Ok(true)
    }

    /// What a property of `object` is after the commit; `None` if it has none of that name.
    pub(super) fn afterwards(&self, object: u32, name: &str) -> io::Result<Option<u64>> {
        Ok(match self.value(object, name)? {
            Some(value) => Some(value),
            None => self.current(object, name)?.map(|(_, value)| value),
        })
    }

    /// All planes of the card that the caller is shown.
    pub(super) fn planes(&self) -> io::Result<Vec<u32>> {
        let mut planes = [0_u32; MOST];
        let mut asked = Fields::zeroed(16);
        asked.set_u64(0, planes.as_mut_ptr().expose_provenance() as u64).set_u32(8, MOST as u32);
        perform(self.card.as_fd(), GETPLANERESOURCES, &mut asked)?;
        Ok(planes.into_iter().take(asked.u32(8) as usize).collect())
    }

    /// The number of a property of `object`, and what it is now; none of an object that there is not, or that has none.
    pub(super) fn current(&self, object: u32, name: &str) -> io::Result<Option<(u32, u64)>> {
        let (mut properties, mut values) = ([0_u32; MOST], [0_u64; MOST]);
        let mut asked = Fields::zeroed(32);
        asked.set_u64(0, properties.as_mut_ptr().expose_provenance() as u64);
        asked.set_u64(8, values.as_mut_ptr().expose_provenance() as u64);
        asked.set_u32(16, MOST as u32).set_u32(20, object);
        match perform(self.card.as_fd(), OBJ_GETPROPERTIES, &mut asked) {
            Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
            other => other?,
        };
        for (property, value) in std::iter::zip(properties, values).take(asked.u32(16) as usize) {
            if self.name(property)? == name {
                return Ok(Some((property, value)));
            }
        }
        Ok(None)
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
        match perform(self.card.as_fd(), GETPROPERTY, asked.set_u32(ID, property)) {
            // A property that there is not is for the commit to refuse.
            Err(Errno::NOENT) => return Ok(String::new()),
            other => other?,
        };
        let name: Vec<u8> = asked.0[NAME..NAME + 32].iter().copied().take_while(|byte| *byte != 0).collect();
        let name = String::from_utf8_lossy(&name).into_owned();
        names.insert((self.device, property), name.clone());
        Ok(name)
    }

    /// Makes the commit in the caller's place, whose memory stays as it is. The fences that the commit makes are still to
    /// be [given](Self::give) to the caller; those that it waits for are copies of the caller's fds.
    pub(super) fn perform(&self) -> io::Result<(Result<i64, Errno>, Vec<Fence>)> {
        let mut waited: Vec<OwnedFd> = Vec::new();
        // Where the kernel writes the number of a fence, and where the caller wants it.
        let mut made: Vec<(Box<AtomicI32>, u64)> = Vec::new();
        let mut values = Vec::new();
        for (_, property, value) in &self.set {
            values.push(match self.name(*property)?.as_str() {
                "IN_FENCE_FD" if value.cast_signed() >= 0 => match self.call.file(*value as RawFd) {
                    Ok(fence) => {
                        let number = fence.as_raw_fd();
                        waited.push(fence);
                        u64::from(number.cast_unsigned())
                    }
                    // So is a number that is no fd, which it must not become here.
                    Err(error) if Errno::from_io_error(&error) == Some(Errno::BADF) => i32::MAX as u64,
                    Err(error) => return Err(error),
                },
                OUT_FENCE | WRITEBACK_OUT_FENCE if *value != 0 => {
                    let place = Box::new(AtomicI32::new(-1));
                    let address = place.as_ptr().expose_provenance() as u64;
                    made.push((place, *value));
                    address
                }
                _ => *value,
            });
        }
        let properties: Vec<u32> = self.set.iter().map(|(_, property, _)| *property).collect();
        let (mut objects, mut counts): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        for (object, ..) in &self.set {
            match (objects.last(), counts.last_mut()) {
                (Some(last), Some(count)) if last == object => *count += 1,
                _ => {
                    objects.push(*object);
                    counts.push(1);
                }
            }
        }
        let mut structure = self.structure.clone();
        let address = |words: &[u32]| words.as_ptr().expose_provenance() as u64;
        structure.set_u32(COUNT, objects.len() as u32).set_u64(OBJECTS, address(&objects));
        structure.set_u64(COUNTS, address(&counts)).set_u64(PROPERTIES, address(&properties));
        structure.set_u64(VALUES, values.as_ptr().expose_provenance() as u64);
        let done = perform(self.card.as_fd(), ATOMIC, &mut structure);
        let fence = |(place, asked): (Box<AtomicI32>, u64)| Fence {
            place: asked,
            file: own(place.load(Ordering::Acquire).into()),
        };
        Ok((done, made.into_iter().map(fence).collect()))
    }

    /// Takes what the planes of this commit show off the screen.
    pub(super) fn blank(&self) -> io::Result<()> {
        let mut set = Vec::new();
        for (object, property, _) in &self.set {
            if matches!(self.name(*property)?.as_str(), "FB_ID" | "CRTC_ID") && self.find(*object, "FB_ID")?.is_some() {
                set.push((*object, *property, 0));
            }
        }
        let mut structure = self.structure.clone();
        // No flags: it is carried out now, and sends no event.
        structure.set_u32(0, 0);
        let card = self.card.try_clone()?;
        Self { call: self.call, card, device: self.device, structure, set }.perform()?.0?;
        Ok(())
    }

    /// Gives the caller the fences of a commit, each at the place that was asked for.
    pub(super) fn give(&self, fences: &[Fence]) -> io::Result<()> {
        fences.iter().try_for_each(|fence| {
            let number = fence.file.as_ref().map_or(Ok(-1), |file| self.call.give(file, true))?;
            self.call.write(fence.place, &number.to_ne_bytes())
        })
    }
}
