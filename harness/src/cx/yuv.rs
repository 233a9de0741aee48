//! Readers of frames in YUV: those that pass the samples on, held against them to the bit, and those that convert to RGB, held
//! against a conversion of our own within what they leave open.

use super::crc::Values;
use super::{Cx, Guest, Target};
use crate::case::{Outcome, Role, Trouble, Witness};
use crate::compare::{counted, pixel_text};
use crate::compose::{Rect, compose};
use crate::dmabuf::{SharedPlanes, SplitFrame};
use crate::error::Result;
use crate::finding::Finding;
use crate::format::{Channel, Fourcc};
use crate::frame::{Frame, Plane, Size};
use crate::gles::{Gles, Through};
use crate::kms::{Layer, Shown};
use crate::observed::NotObservable;
use crate::picture::Picture;
use crate::share::agreement::Wish;
use crate::share::buffer::Buffer;
use crate::share::core::Access;
use crate::yuv::planes::{PlaneDifference, compare_planes, greys};
use crate::yuv::shown::{Allowed, Onto, Spots, step_of};
use crate::yuv::{Colours, Range, Slip, misread};

/// Where a reader found a frame in YUV, and how it was told to convert it.
#[derive(Clone, Copy)]
struct Found<'f> {
    frame: &'f Frame,
    /// Whether the planes come in dma-bufs of their own.
    apart: bool,
    colours: Colours,
}

/// Of a picture's pixels so many must be as a wrong reading would have them before that is called alike, in per cent.
const ALIKE: u64 = 95;

impl Cx {
    /// `reader` sees `actual`, samples in YUV, and must see `target` to the bit; `placed` is where it found the planes, if that
    /// is known.
    ///
    /// # Errors
    /// The two can't be compared, or the images can't be saved.
    pub(super) fn sees_planes(
        &mut self,
        reader: &str,
        target: &Target,
        actual: &Picture,
        placed: &[Plane],
    ) -> Result<()> {
        let differ = compare_planes(&target.picture, actual, target.before.as_ref(), placed)?;
        let what = format!("{reader} does not see the target");
        match PlaneDifference::finding(&what, &differ) {
            None => self.case.agreed.push(reader.to_owned()),
            Some(finding) => {
                let saved = greys(&target.picture).and_then(|target| self.save(reader, &target, &greys(actual)?));
                self.case.disagreed.push(finding.maybe("not saved", saved.err().map(|error| error.to_string())));
            }
        }
        Ok(())
    }

    /// OpenGL ES takes `buffer` in, converts it as `colours` says, and must see `target`.
    ///
    /// # Errors
    /// The driver refuses.
    pub fn gles_sees_yuv(&mut self, buffer: &Buffer, colours: Colours, target: &Target) -> Outcome {
        let gles = self.gles()?;
        self.mapped(&Guest::Gles(&gles), buffer, Access::Read, |cx, shared| {
            let actual = gles.import_as(shared, Through::External, colours)?.sampled_rgb()?;
            Ok(cx.gles_converts(&gles, shared, colours, target, &actual)?)
        })
    }

    /// `reader`, OpenGL ES or the screen, shows `buffer`, which holds `grey`, in which every sample of chroma is the middle one,
    /// without a trace of colour: R, G and B are no further apart than one step of the format's components. And where there is
    /// none, each pixel is as light as its sample of luma says.
    ///
    /// # Errors
    /// The driver refuses; or `grey` is not in YUV.
    pub fn shows_grey(&mut self, reader: Role, buffer: &Buffer, colours: Colours, grey: &Picture) -> Outcome {
        let Wish { fourccs, size } = buffer.wish();
        let mut onto = Onto::Itself;
        let rgb = if reader == Role::Gles {
            let gles = self.gles()?;
            self.mapped(&Guest::Gles(&gles), buffer, Access::Read, |_, shared| {
                Ok(gles.import_as(shared, Through::External, colours)?.sampled_rgb()?)
            })?
        } else {
            let shown = self.show(&[Layer { colours, ..Layer::whole(buffer) }])?;
            onto = Onto::Screen { size: self.screen()?.size(), crop: Rect::whole(*size), at: (0, 0) };
            shown.writeback.map_err(|why| Trouble::Skip(why.to_string()))?
        };
        let (spread, seen) = spread(&rgb, *size);
        let step = u32::from(step_of(fourccs[0]));
        self.claim(format!("{reader}'s chroma"), spread <= step, || {
            Finding::new(format!("{reader} shows grey of {} with a tint", fourccs[0]))
                .row(
                    "most",
                    format!("R, G and B are {spread} of 65535 apart; at most {step}, one of its steps, would be valid"),
                )
                .row("where", seen)
                .row("like", "chroma that is read from elsewhere, or weighed otherwise than its middle says")
        });
        if spread > step {
            return Ok(());
        }
        let allowed = Allowed::of_luma();
        let off = |colours: Colours| allowed.compare(&onto.whole(colours.convert(grey)?, rgb.fourcc)?, &rgb);
        let difference = off(colours)?;
        let range = if colours.range == Range::Full { Range::Limited } else { Range::Full };
        let other = Colours { range, ..colours };
        let like = match difference.is_some() && off(other)?.is_none() {
            true => format!("a picture converted as {other} in place of {colours}"),
            false => "luma that is read from elsewhere, or a picture that nobody has drawn".to_owned(),
        };
        let what = format!("{reader} shows another grey than {} has", fourccs[0]);
        self.claim(format!("{reader}'s luma"), difference.is_none(), || match &difference {
            Some(difference) => {
                Finding::differs(what, difference, None).row("near", allowed.to_string()).row("like", like)
            }
            None => Finding::new(what),
        });
        Ok(())
    }

    /// `gles` sampled `actual`, RGB of 16 bits each, from `shared`, which holds `target`.
    ///
    /// # Errors
    /// The two can't be compared, or the images can't be saved.
    pub(crate) fn gles_converts(
        &mut self,
        gles: &Gles,
        shared: &impl SharedPlanes,
        colours: Colours,
        target: &Target,
        actual: &Picture,
    ) -> Result<()> {
        let frame = shared.frame();
        let found = Found { frame, apart: is_apart(shared), colours };
        let is_llvmpipe = gles.identity().renderer.starts_with("llvmpipe");
        let allowed = Allowed::of_gles(is_llvmpipe, frame.fourcc);
        let reader = format!("{} (external texture)", gles.name());
        self.converts(&reader, found, target, actual, allowed, Onto::Itself)
    }

    /// The screen that plays `role` shows a frame in YUV by itself, and must show `target`.
    ///
    /// # Errors
    /// The screen can't show it, or nobody can tell what it must look like.
    pub(super) fn screen_shows_yuv(&mut self, role: Role, layer: Layer<'_, Buffer>, target: &Target) -> Outcome {
        self.screen_tells_chroma(role, target.picture.fourcc)?;
        let shown = self.show_on(role, &[layer])?;
        let Some(storage) = layer.frame.storage() else {
            return Err(Finding::new("a frame that was shown has no storage").into());
        };
        let found = Found { frame: &storage.shared.frame, apart: false, colours: layer.colours };
        self.screen_converts(role, found, (layer.crop, layer.at), target, shown)
    }

    /// What the screen showed of `split`, of which `crop` went to `at`.
    pub(super) fn screen_converts_split(
        &mut self,
        split: &SplitFrame,
        placed: (Rect, (i32, i32)),
        colours: Colours,
        target: &Target,
        shown: Shown,
    ) -> Outcome {
        let found = Found { frame: split.frame(), apart: is_apart(split), colours };
        self.screen_converts(Role::Screen, found, placed, target, shown)
    }

    /// Skips where the pixels can't be computed.
    pub(super) fn screen_tells_chroma(&mut self, role: Role, fourcc: Fourcc) -> Outcome {
        let sampled = fourcc.planes().is_some_and(|planes| planes.iter().any(|plane| plane.across * plane.down > 1));
        let driver = self.screen_of(role)?.identity().driver;
        if sampled && driver != "vkms" {
            let why =
                "KMS leaves open how sub-sampled chroma is interpolated, and only of vkms it is known: not at all";
            return Err(Trouble::Skip(format!("what {driver} must show of {fourcc} can't be computed: {why}")));
        }
        Ok(())
    }

    /// What the screen showed of a frame that was found so, of which `crop` went to `at`.
    fn screen_converts(
        &mut self,
        role: Role,
        found: Found<'_>,
        (crop, at): (Rect, (i32, i32)),
        target: &Target,
        shown: Shown,
    ) -> Outcome {
        let screen = self.screen_of(role)?;
        let (size, is_vkms) = (screen.size(), screen.identity().driver == "vkms");
        let actual = match shown.writeback {
            Ok(actual) => actual,
            Err(why) => {
                self.unobserved(Witness::Writeback, why);
                return Err(Trouble::Skip("without writeback nobody sees what the screen makes of YUV".to_owned()));
            }
        };
        let allowed = Allowed::of_screen(is_vkms, found.frame.fourcc);
        self.converts("screen (writeback)", found, target, &actual, allowed, Onto::Screen { size, crop, at })?;
        match shown.crc {
            // Its CRC is of what it composed, which in 16 bits is what it wrote back.
            Ok(crc) if is_vkms => {
                let whole = crate::compose::Layer { picture: &actual, crop: Rect::whole(size), at: (0, 0) };
                let of_writeback = compose(size, &[whole])?.crc_vkms();
                self.equals("screen (CRC of what was written back)", Values(vec![of_writeback]), Values(crc.values));
            }
            Ok(_) => {
                let why = "no CRC of converted pixels can be computed for this driver";
                self.unobserved(Witness::Crc, NotObservable(why.to_owned()));
            }
            Err(why) => self.unobserved(Witness::Crc, why),
        }
        Ok(())
    }

    /// `reader` sees `actual`, the RGB of a frame put `onto` a picture of its own, and must see that of `target`.
    fn converts(
        &mut self,
        reader: &str,
        found: Found<'_>,
        target: &Target,
        actual: &Picture,
        allowed: Allowed,
        onto: Onto,
    ) -> Result<()> {
        let Found { frame, apart, colours } = found;
        let expected = onto.whole(colours.convert(&target.picture)?, actual.fourcc)?;
        let Some(difference) = allowed.compare(&expected, actual)? else {
            self.case.agreed.push(reader.to_owned());
            return Ok(());
        };
        let mut candidates = misread(&target.picture, frame, apart);
        let before = target.before.clone();
        candidates.extend(before.map(|before| ("of the frame that was in the buffer before".to_owned(), before)));
        let read_wrong = candidates.iter().map(|(name, picture)| (format!("read {name}"), picture, colours));
        let told_wrong = Colours::ALL.into_iter().filter(|other| *other != colours);
        let told_wrong =
            told_wrong.map(|other| (format!("converted as {other} in place of {colours}"), &target.picture, other));
        let mut like = None;
        let slips = || [None].into_iter().chain(Slip::ALL.map(Some));
        let wrong = read_wrong.chain(told_wrong).flat_map(|one| slips().map(move |slip| (one.clone(), slip)));
        let spots = Spots::of(target.picture.size, actual, onto, allowed);
        for ((name, picture, colours), slip) in wrong {
            if !spots.allow(colours, slip, picture)? {
                continue;
            }
            let rgb = onto.whole(colours.convert_with(slip, picture)?, actual.fourcc)?;
            let off = allowed.compare(&rgb, actual)?.map_or(0, |difference| difference.count);
            let (explained, total) = (difference.total - off, difference.total);
            if explained * 100 > total * ALIKE && like.as_ref().is_none_or(|(most, _)| explained > *most) {
                like = Some((
                    explained,
                    format!("like a picture {name}; explains {} of {total}", counted(explained, "pixel")),
                ));
            }
        }
        let unsaved = self.save(reader, &expected, actual).err().map(|error| error.to_string());
        let mut what = format!("{reader} does not see the target");
        for slip in Slip::ALL {
            if spots.off(colours, Some(slip), &target.picture)? > 0 {
                continue;
            }
            let rgb = onto.whole(colours.convert_with(Some(slip), &target.picture)?, actual.fourcc)?;
            if allowed.compare(&rgb, actual)?.is_none() {
                what = format!("{reader} converts {} {slip}", frame.fourcc);
            }
        }
        let finding = Finding::differs(what, &difference, None);
        let finding = finding.maybe("shape", like.map(|(_, text)| text));
        let finding = finding.row("near", allowed.to_string()).maybe("not saved", unsaved);
        let how = format!("as {colours} to RGB, chroma not interpolated");
        self.case.disagreed.push(finding.row("converted", how));
        Ok(())
    }
}

/// How far R, G and B of a pixel are apart at most in the top left `size` of `picture`, in steps of 1/65535, and where.
fn spread(picture: &Picture, size: Size) -> (u32, String) {
    let Some(pixel) = picture.fourcc.pixel() else { return (0, String::new()) };
    let colours: Vec<_> = pixel.shown().filter(|component| component.channel != Channel::A).collect();
    let mut most = (0, String::new());
    for (y, row) in (0..size.height).zip(picture.bytes.chunks_exact(picture.row_bytes())) {
        for (x, bytes) in (0..size.width).zip(row.chunks_exact(pixel.bytes as usize)) {
            let word = pixel.word(bytes);
            let values = colours.iter().map(|one| u64::from(one.of(word)) * 65535 / u64::from(one.full()));
            let spread = (values.clone().max().unwrap_or(0) - values.min().unwrap_or(0)) as u32;
            if spread > most.0 {
                most = (spread, format!("x {x}, y {y}    {}", pixel_text(picture.fourcc, word)));
            }
        }
    }
    most
}

/// Whether planes of `shared` lie in dma-bufs that are not the first one's.
fn is_apart(shared: &impl SharedPlanes) -> bool {
    let inode = |plane| shared.dmabuf_of(plane).identity().ok().map(|identity| identity.inode);
    (1..shared.frame().planes.len()).any(|plane| inode(plane) != inode(0))
}
