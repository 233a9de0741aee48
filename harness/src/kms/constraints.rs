//! What does a screen need of a frame that it scans out? Its lowest plane tells of formats; framebuffers are tried.
//!
//! Trials make framebuffers of a dumb buffer of the card's own, and show nothing. They cost some 10 calls, well below 0.1 ms
//! each on vkms.

use rustix::io::Errno;

use super::Screen;
use super::card::{Framebuffer, Gem};
use crate::dmabuf::{Dmabuf, SharedFrame};
use crate::error::Result;
use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, Plane, Size};
use crate::share::constraints::{Constraints, FormatModifier, MemoryNeeds};
use crate::share::heap::Storage;
use crate::share::trial::Trial;
use crate::udmabuf;

/// What the kernel answers to an import that it could not look at: no fd, no memory, no card.
const OF_THE_MOMENT: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NODEV];

impl Screen {
    /// What the screen needs of a frame of one of `fourccs` in `size`, in memory like that of `probes`: small buffers, one for
    /// each heap in question. It takes a heap if it imports its memory and makes framebuffers there.
    ///
    /// Of layouts other than LINEAR the kernel does not tell how many planes they have, so they are left out; and so are formats
    /// of which the driver refuses every framebuffer, however its rows lie.
    ///
    /// # Errors
    /// Something else than a framebuffer is refused.
    pub fn constraints(&self, fourccs: &[Fourcc], size: Size, probes: &[&Storage]) -> Result<Constraints> {
        let (smallest, largest) = self.frame_sizes();
        let listed =
            |fourcc: &&Fourcc| self.planes().next().is_some_and(|plane| plane.lists(**fourcc, Modifier::LINEAR));
        let listed: Vec<Fourcc> = fourccs.iter().filter(listed).copied().collect();
        let formats = listed.iter().map(|&fourcc| FormatModifier {
            fourcc,
            modifier: Modifier::LINEAR,
            planes: fourcc.planes().map_or(1, |planes| planes.len() as u32),
        });
        // A frame of another size would be refused whatever its layout, and the limits say so anyway.
        let size = Size {
            width: size.width.clamp(smallest.width, largest.width.max(smallest.width)),
            height: size.height.clamp(smallest.height, largest.height.max(smallest.height)),
        };
        let mut found = Constraints { smallest, largest, ..Constraints::of(formats.collect()) };
        for &fourcc in &listed {
            let Some([shape]) = fourcc.planes() else { continue };
            let trial = Trial::of(std::slice::from_ref(shape), size.width, size.height);
            let dmabuf = self.card.dumb_of_bytes(trial.bytes())?;
            let refuses = |planes: &[Plane]| {
                let frame = Frame { size, fourcc, modifier: Modifier::LINEAR, planes: planes.to_vec() };
                match Framebuffer::new(&self.card, &SharedFrame { dmabuf: dmabuf.try_clone()?, frame }) {
                    Ok(_) => Ok(None),
                    Err(error) if error.is_errno(Errno::INVAL) => Ok(Some(error)),
                    Err(error) => Err(error),
                }
            };
            match trial.alignments(refuses)? {
                Ok(needs) => {
                    found.pitch.alignment = found.pitch.alignment.max(needs.pitch);
                    found.offset_alignment = found.offset_alignment.max(needs.offset);
                }
                // Listed, and refused however its rows lie: as good as not listed.
                Err(_) => found.formats.retain(|pair| pair.fourcc != fourcc),
            }
        }
        found.pitch.max = u32::MAX.into();
        found.memory = self.memory_needs(probes)?;
        Ok(found)
    }

    fn memory_needs(&self, probes: &[&Storage]) -> Result<MemoryNeeds> {
        let imports = |dmabuf: &Dmabuf| match Gem::import(&self.card, dmabuf) {
            Ok(_) => Ok(true),
            // These say nothing of the memory.
            Err(error) if OF_THE_MOMENT.iter().any(|errno| error.is_errno(*errno)) => Err(error),
            Err(_) => Ok(false),
        };
        let mut taken: Vec<&Storage> = Vec::new();
        for probe in probes {
            if imports(&probe.shared.dmabuf)? && self.shows_memory(&probe.shared.dmabuf)? {
                taken.push(probe);
            }
        }
        let all = taken.len() == probes.len();
        let heaps = (!all).then(|| taken.iter().map(|probe| probe.heap.clone()).collect());
        let page = rustix::param::page_size() as u64;
        // Where there is no udmabuf to try it with, the card's own words are all there is: it said nothing.
        let contiguous = match (udmabuf::create(page), udmabuf::folded(2 * page)) {
            (Ok((one, _)), Ok(folded)) => imports(&one)? && !imports(&folded)?,
            _ => false,
        };
        Ok(MemoryNeeds { heaps, contiguous, ..MemoryNeeds::ANY })
    }
}
