//! How frames with an fd for each plane reach devices: as any frame does, but that each plane in a buffer of its own is attached
//! to, mapped and observed by itself.

use super::sharing::Guest;
use super::{Cx, Target};
use crate::case::{Outcome, Role, Trouble};
use crate::dmabuf::{SharedFrame, SharedPlanes, SplitFrame};
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::format::Modifier;
use crate::frame::{Frame, Plane, Rows};
use crate::gles::Through;
use crate::kms::Layer;
use crate::picture::Picture;
use crate::placement;
use crate::share::buffer::Mapping;
use crate::share::constraints::{Constraints, Party};
use crate::share::core::Access;
use crate::share::parts::{Parts, plane_frames};
use crate::vk::{Gpu, Tiling};
use crate::yuv::Colours;

/// One buffer of such a frame while a device has it mapped.
struct MappedPart {
    mapping: Mapping,
    device: placement::Device,
    constraints: Constraints,
}

/// The first plane but one that holds what a device finds which takes the memory of plane 0 for that plane's, too. `laid` tells where the
/// rows of each plane lie in its memory; `target` and `actual` are samples without padding, plane by plane.
fn read_of_the_first(laid: &[Rows], target: &[u8], actual: &[u8]) -> Option<usize> {
    let bytes = |rows: &Rows| (rows.row * rows.count) as usize;
    let first = laid.first()?;
    // The memory of plane 0, from where its buffer begins.
    let mut memory = vec![0; first.end as usize];
    for (y, row) in target.get(..bytes(first))?.chunks_exact(first.row as usize).enumerate() {
        let start = (first.offset + y as u64 * first.pitch) as usize;
        memory.get_mut(start..start + row.len())?.copy_from_slice(row);
    }
    let mut begins = bytes(first);
    for (plane, rows) in laid.iter().enumerate().skip(1) {
        let ends = begins + bytes(rows);
        let (wanted, found) = (target.get(begins..ends)?, actual.get(begins..ends)?);
        let of_the_first = found.chunks_exact(rows.row as usize).enumerate().all(|(y, row)| {
            let start = (rows.offset + y as u64 * rows.pitch) as usize;
            memory.get(start..start + row.len()) == Some(row)
        });
        if of_the_first && found != wanted {
            return Some(plane);
        }
        begins = ends;
    }
    None
}

impl Cx {
    /// Each plane of a frame that `exporter` made with an fd for each, as a buffer of its own that stays as it lies.
    ///
    /// # Errors
    /// The exporter can't be asked for its constraints, or its own memory does not suit it.
    pub fn publish_planes(&mut self, exporter: Guest<'_>, split: SplitFrame) -> Result<Parts, Trouble> {
        let (frame, dmabufs) = split.into_planes();
        let Frame { fourcc, size, .. } = frame;
        let planes: Vec<Plane> = frame.planes;
        let mut buffers = Vec::new();
        for (((fourcc, size), plane), dmabuf) in plane_frames(fourcc, size)?.into_iter().zip(planes).zip(dmabufs) {
            let shared = SharedFrame { dmabuf, frame: Frame::linear(fourcc, size, plane) };
            buffers.push(self.publish_memory(self.name_of(&exporter), shared)?);
        }
        let parts = Parts::Several { fourcc, size, buffers };
        for (n, buffer) in parts.buffers().iter().enumerate() {
            let (party, _) = self.party_of_part(&exporter, &parts, n)?;
            self.case.attached.push(buffer.attach(party)?);
        }
        Ok(parts)
    }

    /// `guest` maps every buffer of `parts` while `work` runs; where each was meanwhile is observed and checked.
    ///
    /// # Errors
    /// Those of attaching, mapping and `work`.
    pub fn mapped_parts<R>(
        &mut self,
        guest: &Guest<'_>,
        parts: &Parts,
        access: Access,
        work: impl FnOnce(&mut Self, &SplitFrame) -> Result<R, Trouble>,
    ) -> Result<R, Trouble> {
        let (split, mapped) = self.map_parts(guest, parts, access)?;
        let done = work(self, &split);
        self.observe_parts(guest, &mapped, access)?;
        done
    }

    /// The CPU writes `picture` into `parts`.
    ///
    /// # Errors
    /// A buffer can't be mapped or addressed.
    pub fn cpu_writes_parts(&mut self, parts: &Parts, picture: &Picture) -> Outcome {
        self.mapped_parts(&Guest::Cpu, parts, Access::Write, |_, split| Ok(split.write(picture)?))
    }

    /// The CPU looks at `parts`.
    ///
    /// # Errors
    /// A buffer can't be mapped or addressed.
    pub fn cpu_sees_parts(&mut self, parts: &Parts, target: &Target) -> Outcome {
        self.mapped_parts(&Guest::Cpu, parts, Access::Read, |cx, split| {
            Ok(cx.sees_planes("cpu", target, &split.read_back()?, &split.frame().planes)?)
        })
    }

    /// `gpu` takes `parts` in as one image of `tiling` whose planes lie in memory of their own, and copies it out.
    ///
    /// # Errors
    /// The import or the copy fails; or the tiling is linear, and the device has the planes elsewhere.
    pub fn gpu_sees_parts(&mut self, role: Role, gpu: &Gpu, parts: &Parts, tiling: Tiling, target: &Target) -> Outcome {
        self.mapped_parts(&Guest::Gpu(gpu), parts, Access::Read, |cx, split| {
            let image = match tiling {
                Tiling::Modifier(_) => gpu.import_disjoint(split),
                Tiling::Linear => gpu.import_disjoint_as_laid(split),
                Tiling::Optimal => {
                    Err(Error::input("importing planes", gpu.object(split), "nobody knows where they lie"))
                }
            };
            let actual = image?.read_back()?;
            if matches!(parts, Parts::Several { .. })
                && let Some(plane) = read_of_the_first(&split.frame().rows()?, &target.picture.bytes, &actual.bytes)
            {
                cx.fact("like", format!("plane {plane} was read out of the memory of plane 0"));
            }
            Ok(cx.sees_planes(role.as_str(), target, &actual, &split.frame().planes)?)
        })
    }

    /// OpenGL ES takes `parts` in, converts them as `colours` says, and must see `target`.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn gles_sees_parts(&mut self, parts: &Parts, colours: Colours, target: &Target) -> Outcome {
        let gles = self.gles()?;
        self.mapped_parts(&Guest::Gles(&gles), parts, Access::Read, |cx, split| {
            let actual = gles.import_as(split, Through::External, colours)?.sampled_rgb()?;
            Ok(cx.gles_converts(&gles, split, colours, target, &actual)?)
        })
    }

    /// The screen shows `parts` at its top left, and must show `target`; it has them mapped until it shows something else.
    ///
    /// # Errors
    /// As for any frame in YUV.
    pub fn screen_shows_parts(&mut self, parts: &Parts, colours: Colours, target: &Target) -> Outcome {
        self.screen_tells_chroma(Role::Screen, target.picture.fourcc)?;
        let (split, mapped) = self.map_parts(&Guest::Screen, parts, Access::Read)?;
        let layer = Layer { colours, ..Layer::whole(&split) };
        let shown = self.screen()?.show(&[layer], None);
        self.observe_parts(&Guest::Screen, &mapped, Access::Read)?;
        let shown = shown?;
        // Only now is the screen done with what it showed before.
        self.on_screen.insert(Role::Screen, mapped.into_iter().map(|part| part.mapping).collect());
        self.screen_converts_split(&split, (layer.crop, layer.at), colours, target, shown)
    }

    fn map_parts(
        &mut self,
        guest: &Guest<'_>,
        parts: &Parts,
        access: Access,
    ) -> Result<(SplitFrame, Vec<MappedPart>), Trouble> {
        let mut attached = Vec::new();
        for (n, buffer) in parts.buffers().iter().enumerate() {
            let (party, device) = self.party_of_part(guest, parts, n)?;
            let constraints = party.constraints.clone();
            attached.push((buffer.attach(party)?, device, constraints));
        }
        let mut mapped = Vec::new();
        for (attachment, device, constraints) in attached {
            mapped.push(MappedPart { mapping: attachment.map(access)?, device, constraints });
        }
        let mappings: Vec<&Mapping> = mapped.iter().map(|part| &part.mapping).collect();
        let split = parts.shared(&mappings)?;
        self.fact("buffer", &split);
        Ok((split, mapped))
    }

    fn observe_parts(&mut self, guest: &Guest<'_>, mapped: &[MappedPart], access: Access) -> Result<()> {
        let mut observe = |MappedPart { mapping, device, constraints }: &MappedPart| {
            self.observe(guest, device, constraints, mapping, access)
        };
        mapped.iter().try_for_each(&mut observe)
    }

    /// `guest` as a party of buffer `n` of `parts`.
    fn party_of_part(
        &mut self,
        guest: &Guest<'_>,
        parts: &Parts,
        n: usize,
    ) -> Result<(Party, placement::Device), Trouble> {
        let (wish, heaps) = (parts.wish(), parts.buffers()[n].heaps().clone());
        let (party, device) = self.party_for(guest, &wish, &heaps)?;
        Self::has_formats(&party, &wish)?;
        if matches!(parts, Parts::One(_)) {
            return Ok((party, device));
        }
        let constraints = party.constraints.of_plane(wish.fourccs[0], n);
        if constraints.formats.is_empty() {
            let why = format!("{} takes no {} {}", party.name, wish.fourccs[0], Modifier::LINEAR);
            return Err(Finding::new(why).into());
        }
        Ok((Party { constraints, ..party }, device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_out_of_the_memory_of_the_first_is_told_from_others() {
        let rows = |pitch, row, count| Rows { offset: 0, pitch, row, count, end: pitch * (count - 1) + row };
        let laid = [rows(4, 4, 2), rows(4, 2, 2)];
        let target = [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 14];
        let seen = |chroma: [u8; 4]| read_of_the_first(&laid, &target, &[&target[..8], &chroma[..]].concat());
        assert_eq!(seen([1, 2, 5, 6]), Some(1));
        assert_eq!(seen([11, 12, 13, 14]), None, "it is what it is to be");
        assert_eq!(seen([1, 2, 5, 7]), None);
        assert_eq!(read_of_the_first(&laid, &target, &[0; 3]), None, "too short");
    }
}
