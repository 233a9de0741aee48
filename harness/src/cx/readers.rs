//! Readers that reach a frame through a device: the CPU by its own addressing, a GPU that imports it, the screen that shows it.

use std::fmt;
use std::sync::Arc;

use super::crc::Values;
use super::{Cx, Doubts, Drawn, Guest, Target};
use crate::case::{Role, Trouble, Witness};
use crate::compare::{Tolerance, compare};
use crate::compose::{self, Composed, compose};
use crate::devices::Devices;
use crate::dmabuf::SharedFrame;
use crate::error::Result;
use crate::format::{Fourcc, Modifier};
use crate::frame::{Plane, Size, px};
use crate::guess::Suspects;
use crate::kms::{Layer, Recoveries, Shown};
use crate::observed::NotObservable;
use crate::picture::Picture;
use crate::share::buffer::Buffer;
use crate::share::core::Access;
use crate::share::heap::Storage;
use crate::vk::{Gpu, ImportRequest};

/// Where planes above the lowest one put their frames in [`Cx::plane_shows`], so that the position shows.
const ABOVE: (u32, u32) = (11, 5);

/// Number of the pattern below them.
const BELOW: u32 = 3;

impl Cx {
    /// The CPU looks at `buffer` by its own addressing.
    ///
    /// # Errors
    /// The buffer can't be mapped or addressed.
    pub fn cpu_sees(&mut self, buffer: &Buffer, target: &Target) -> Result<(), Trouble> {
        self.cpu_sees_of("cpu", buffer, target)
    }

    /// As [`Self::cpu_sees`], where `reader` says what the CPU looks at, or after what.
    ///
    /// # Errors
    /// As there.
    pub fn cpu_sees_of(&mut self, reader: &str, buffer: &Buffer, target: &Target) -> Result<(), Trouble> {
        self.mapped(&Guest::Cpu, buffer, Access::Read, |cx, shared| {
            let actual = shared.read_back()?;
            if shared.frame.fourcc.yuv().is_some() {
                return Ok(cx.sees_planes(reader, target, &actual, &shared.frame.planes)?);
            }
            let packed = shared.frame.packed()?;
            let suspects = Suspects { pitch: Some(packed.pitch), offset: packed.offset, ..Suspects::default() };
            Ok(cx.sees_within(reader, target, &actual, &Tolerance::Exact, &suspects)?)
        })
    }

    /// Why the CPU does not see what `gpu`, which is `from`, drew into an image of its own and gave away: it is there by the next
    /// submission, or only `gpu` itself sees it there, by a sampler. Says so, if it is one of these, and adds no finding.
    pub fn looks_again(&mut self, from: Role, gpu: &Gpu, drawn: &Drawn, how: &ImportRequest) {
        let target = &drawn.target.picture;
        let is_target =
            |actual: Picture| compare(target, &actual, &Tolerance::Exact).is_ok_and(|differ| differ.is_none());
        // What fails on the way to an explanation must not cost the finding.
        let of_gpu =
            |cx: &mut Self| Ok::<_, Trouble>(is_target(cx.import(gpu, &drawn.buffer, how)?.sampled_picture()?));
        let of_cpu = |cx: &mut Self| {
            cx.mapped(&Guest::Cpu, &drawn.buffer, Access::Read, |_, shared| Ok(is_target(shared.read_back()?)))
        };
        let sees_itself = of_gpu(self).unwrap_or(false);
        if of_cpu(self).unwrap_or(false) {
            self.fact("like", "a release of an image that takes effect with the next submission: it is there by then");
        } else if sees_itself {
            let like = format!(
                "an image whose rows or channels lie otherwise than {from} says: sampled by {from} itself it is the target"
            );
            self.fact("like", like);
        }
    }

    /// The GPU imports `buffer` and copies it out.
    ///
    /// # Errors
    /// The import or the copy fails.
    pub fn gpu_sees(
        &mut self,
        reader: impl fmt::Display,
        gpu: &Gpu,
        buffer: &Buffer,
        how: &ImportRequest,
        target: &Target,
    ) -> Result<(), Trouble> {
        let image = self.import(gpu, buffer, how)?;
        let actual = image.read_back()?;
        if target.picture.fourcc.yuv().is_some() {
            return Ok(self.sees_planes(&reader.to_string(), target, &actual, &image.frame()?.planes)?);
        }
        Ok(self.sees(reader, target, &actual)?)
    }

    /// The GPU imports `buffer` and samples it in a shader.
    ///
    /// # Errors
    /// The import fails, or the device does not sample such images.
    pub fn gpu_samples(
        &mut self,
        reader: impl fmt::Display,
        gpu: &Gpu,
        buffer: &Buffer,
        target: &Target,
    ) -> Result<(), Trouble> {
        let actual = self.import(gpu, buffer, &ImportRequest::default())?.sampled_picture()?;
        Ok(self.sees(reader, target, &actual)?)
    }

    /// The screen shows `layers`, the lowest first, and must show their targets: seen through writeback and CRC, as far as
    /// the screen has them. A frame in YUV must be the only one.
    ///
    /// # Errors
    /// The screen can't show them, or has neither writeback nor CRC.
    pub fn screen_shows(&mut self, layers: &[(Layer<'_, Buffer>, &Target)]) -> Result<(), Trouble> {
        self.shows_on(Role::Screen, layers)
    }

    /// As [`Self::screen_shows`], on the screen that plays `role`.
    ///
    /// # Errors
    /// As [`Self::screen_shows`].
    pub fn shows_on(&mut self, role: Role, layers: &[(Layer<'_, Buffer>, &Target)]) -> Result<(), Trouble> {
        if let [(layer, target)] = layers
            && target.picture.fourcc.yuv().is_some()
        {
            return self.screen_shows_yuv(role, *layer, target);
        }
        let plain: Vec<Layer<'_, Buffer>> = layers.iter().map(|(layer, _)| *layer).collect();
        let shown = self.show_on(role, &plain)?;
        self.showed(role, role.as_str(), layers, shown)
    }

    /// As [`Self::screen_shows`], of one frame in RGB, written back in `writeback`.
    ///
    /// # Errors
    /// As [`Self::screen_shows`]; also if the screen does not list that format.
    pub fn screen_writes(&mut self, writeback: Fourcc, buffer: &Buffer, target: &Target) -> Result<(), Trouble> {
        let layer = Layer::whole(buffer);
        let shown = self.show_in(Role::Screen, &[layer], Some(writeback))?;
        self.showed(Role::Screen, &format!("screen, in {writeback},"), &[(layer, target)], shown)
    }

    /// The screen, which was given nothing else since, shows `layers` still.
    ///
    /// # Errors
    /// As [`Self::screen_shows`].
    pub fn screen_still_shows(&mut self, layers: &[(Layer<'_, Buffer>, &Target)]) -> Result<(), Trouble> {
        let shown = self.screen()?.look_again()?;
        self.showed(Role::Screen, "screen, with nothing new to show,", layers, shown)
    }

    /// What the screen that plays `role`, called `who`, has `shown` of `layers` must be their targets.
    fn showed(
        &mut self,
        role: Role,
        who: &str,
        layers: &[(Layer<'_, Buffer>, &Target)],
        shown: Shown,
    ) -> Result<(), Trouble> {
        let screen = self.screen_of(role)?;
        let size = screen.size();
        let is_vkms = screen.identity().driver == "vkms";
        let composed: Vec<_> = layers.iter().map(|(layer, target)| layer.of(&target.picture)).collect();
        let expected = compose(size, &composed)?;
        let mut observed = false;
        let mut blind = "the screen has neither writeback nor CRC: nobody can see what it shows".to_owned();
        // What it would show with one mistake, if it does not show the target.
        let mut mistakes = Vec::new();
        match shown.writeback {
            Ok(actual) => {
                observed = true;
                // How vkms widens is known, and not how it narrows.
                let mut exact = compose::tolerance(Fourcc::XR48, actual.fourcc)? == 0;
                for (layer, _) in layers {
                    exact &= is_vkms || compose::tolerance(layer.frame.wish().fourccs[0], actual.fourcc)? == 0;
                }
                let tolerance = if exact {
                    Tolerance::Exact
                } else {
                    Tolerance::PerChannel {
                        max: compose::step(actual.fourcc)?,
                        pixels: 0,
                        reason: "KMS leaves open how 5, 6 and 10 bits are widened and narrowed".into(),
                    }
                };
                let target = expected.to(actual.fourcc)?;
                let reader = format!("{who} (writeback)");
                let doubts = || {
                    mistakes = slips(size, layers, &composed)?;
                    let slips = mistakes.iter().map(|(what, shown)| Ok((what.clone(), shown.to(actual.fourcc)?)));
                    Ok(Doubts { before: before(size, layers, actual.fourcc)?, slips: slips.collect::<Result<_>>()? })
                };
                let agreed = self.case.disagreed.len();
                self.sees_or_doubts(reader, &target, &actual, &tolerance, &Suspects::default(), doubts)?;
                if let ([(layer, target)], true) = (layers, agreed == 0 && !self.case.disagreed.is_empty()) {
                    let is_older = before(size, layers, actual.fourcc)?.is_some_and(|before| before == actual);
                    self.blame(layer.frame, target, is_older)?;
                }
            }
            Err(why) => self.unobserved(Witness::Writeback, why),
        }
        match shown.crc {
            Ok(crc) => match self.crc_of_target(role, &expected, layers)? {
                Ok(target) => {
                    observed = true;
                    let is_wrong = target != crc.values;
                    if is_vkms && is_wrong && mistakes.is_empty() {
                        mistakes = slips(size, layers, &composed)?;
                    }
                    let is_seen = |(_, shown): &&(String, Composed)| is_vkms && [shown.crc_vkms()] == crc.values[..];
                    let like = mistakes.iter().filter(|_| is_wrong).find(is_seen);
                    let like = like.map_or_else(String::new, |(what, _)| format!(", as of {what}"));
                    self.equals(format!("{who} (CRC{like})"), Values(target), Values(crc.values));
                }
                Err(why) => {
                    blind = why.0.clone();
                    self.unobserved(Witness::Crc, why);
                }
            },
            Err(why) => self.unobserved(Witness::Crc, why),
        }
        let Recoveries { woken, repeated } = shown.recoveries;
        if woken + repeated > 0 {
            self.fact(
                "recovered",
                format!("lost writebacks: {woken} woken by the CRC source, {repeated} jobs repeated"),
            );
        }
        if observed { Ok(()) } else { Err(Trouble::Skip(blind)) }
    }

    /// Says of the last finding, a screen that does not show its target, or the frame before it, whether it is the buffer that
    /// has something else.
    fn blame(&mut self, buffer: &Buffer, target: &Target, is_older: bool) -> Result<(), Trouble> {
        // Who has no other mapping to look by leaves it open.
        let Ok(there) = self.mapped(&Guest::Cpu, buffer, Access::Read, |_, shared| Ok(shared.read_back()?)) else {
            return Ok(());
        };
        let is_there = compare(&target.picture, &there, &Tolerance::Exact)?.is_none();
        let like = match (is_there, is_older) {
            (true, false) => return Ok(()),
            (true, true) => "the buffer holds the target, and the screen shows an older frame",
            (false, true) => "the target is not in the buffer yet, so that the screen can't show it",
            (false, false) => "something else than the target is in the buffer: it was drawn over, or did not come",
        };
        if let Some(finding) = self.case.disagreed.pop() {
            self.case.disagreed.push(finding.row("like", like));
        }
        Ok(())
    }

    /// The screen, on which `layer` is and nothing else, must show `target` by now, with nothing committed since: seen through
    /// its CRC.
    ///
    /// # Errors
    /// A skip if it has none; nothing is on the screen.
    pub fn screen_goes_on_to_show(&mut self, layer: Layer<'_, Buffer>, target: &Target) -> Result<(), Trouble> {
        let screen = self.screen()?;
        let size = screen.size();
        let seen = screen.crc_now()??;
        let expected = compose(size, &[layer.of(&target.picture)])?;
        let target = self.crc_of_target(Role::Screen, &expected, &[(layer, target)])??;
        self.equals("screen, without a commit (CRC)", Values(target), Values(seen.values));
        Ok(())
    }

    /// The plane of the screen that plays `role` shows `buffer` over a frame of the CPU's, and must show
    /// `target` blended over it.
    ///
    /// # Errors
    /// As [`Self::screen_shows`]; also if the screen has no such plane.
    pub fn plane_shows(&mut self, role: Role, buffer: &Buffer, target: &Target) -> Result<(), Trouble> {
        let Size { width, height } = target.picture.size;
        // Some of it is seen beside the upper frame, on all sides.
        let size = px(width + 2 * ABOVE.0, height + 2 * ABOVE.1);
        let under = compose::below(&target.picture, ABOVE, size, Fourcc::XR24, BELOW)?;
        let dumb = self.screen()?.dumb(under.fourcc, under.size)?;
        let lower = self.publish(Guest::Screen, dumb)?;
        self.cpu_writes(&lower, &under)?;
        let under = Target { before: Some(under.clone()), picture: under };
        let at = (ABOVE.0 as i32, ABOVE.1 as i32);
        let upper = Layer { at, plane: Some(Devices::plane_of(role)), ..Layer::whole(buffer) };
        self.screen_shows(&[(Layer::whole(&lower), &under), (upper, target)])
    }

    pub(super) fn unobserved(&mut self, witness: Witness, why: NotObservable) {
        self.case.record.unobserved.insert(witness, why.to_string());
        self.fact("not observed", format!("{witness}: {why}"));
    }
}

/// What the screen would show of the frames before, as its writeback would have it in `fourcc`; `None` if one is not known.
fn before(size: Size, layers: &[(Layer<'_, Buffer>, &Target)], fourcc: Fourcc) -> Result<Option<Picture>> {
    let before: Option<Vec<_>> = layers.iter().map(|(layer, target)| Some(layer.of(target.before.as_ref()?))).collect();
    before.map(|layers| compose(size, &layers)?.to(fourcc)).transpose()
}

/// What the screen would show with one mistake.
fn slips(
    size: Size,
    layers: &[(Layer<'_, Buffer>, &Target)],
    composed: &[compose::Layer<'_>],
) -> Result<Vec<(String, Composed)>> {
    let storages: Vec<_> = layers.iter().map(|(layer, _)| layer.frame.storage()).collect();
    let plane = |storage: &Option<Arc<Storage>>| Some(*storage.as_ref()?.shared.frame.planes.first()?);
    let pitches: Vec<u64> = storages.iter().map(|storage| plane(storage).map_or(0, |plane| plane.pitch)).collect();
    // First those that are of the buffer: where nothing is there, it looks like a frame that is left out.
    let mut found = Vec::new();
    for (n, storage) in storages.iter().enumerate() {
        let Some(SharedFrame { dmabuf, frame }) = storage.as_ref().map(|storage| &storage.shared) else { continue };
        let [Plane { offset, .. }] = frame.planes[..] else { continue };
        if offset == 0 || frame.modifier != Modifier::LINEAR {
            continue;
        }
        let places = [
            (2 * offset, format!("what is at byte {}, with the offset of {offset} B added twice", 2 * offset)),
            (0, format!("what is at the buffer's start, with the offset of {offset} B ignored")),
        ];
        for (at, what) in places {
            let mut frame = frame.clone();
            frame.planes[0].offset = at;
            if frame.end()? > dmabuf.size {
                continue;
            }
            let picture = SharedFrame { dmabuf: dmabuf.try_clone()?, frame }.read_back()?;
            let mut layers = composed.to_vec();
            layers[n] = compose::Layer { picture: &picture, ..composed[n] };
            found.push((what, compose(size, &layers)?));
        }
    }
    found.extend(compose::slips(size, composed, &pitches)?);
    Ok(found)
}
