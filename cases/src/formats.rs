//! What devices list: each format is one whose pixels are known here, so that it can be tried, or it is named here why not.
//!
//! A driver that lists a format that nobody here has heard of is so found out, instead of never being asked about it.

use std::collections::BTreeSet;
use std::sync::Arc;

use handover::ends::{Exporter, Importer, Parcel, Planes, Rows, Start, exporters, importers};
use handover::prelude::*;
use handover::v4l2::{Device, Direction, PixelFormat, Queue};

/// DRM formats that no case can try.
const UNTRIED: &[(&[&[u8; 4]], &str)] = &[];

/// V4L2 formats that no case can try.
const UNTRIED_OF_VIDEO: &[(&[&[u8; 4]], &str)] = &[];

/// Which devices list DRM formats.
const DRM: [Role; 5] = [Gles, Screen, Overlay, Cursor, Gbm];

/// Which devices list V4L2 formats.
const VIDEO: [Role; 5] = [Video, DmaVideo, PlanarVideo, Converter, Codec];

/// What the smallest loop takes, and no row of which fills its pitch.
const SIZE: Size = px(64, 64);

const STAMP: u32 = 7;

pub(crate) fn register(cases: &mut Cases<Cx>) {
    for role in DRM {
        let name = format!("formats::what_is_listed_is_known_or_named::{role}");
        let case = cases.add(name, move |cx| drm_formats(cx, role)).to(role);
        if role == Screen {
            case.must_fail_under("in-formats-invented");
        }
    }
    for role in VIDEO {
        let name = format!("formats::what_is_listed_is_known_or_named::{role}");
        cases.add(name, move |cx| video_formats(cx, role)).to(role);
    }
    cases
        .add("formats::what_is_listed_passes_through_a_loop", passes)
        .from(Udmabuf)
        .to(Video)
        .must_fail_under("video-pitch-ignored");
}

/// Why `code` is not tried, if the table says so.
fn reason(table: &[(&[&[u8; 4]], &'static str)], code: u32) -> Option<&'static str> {
    table.iter().find(|(codes, _)| codes.iter().any(|known| u32::from_le_bytes(**known) == code)).map(|(_, why)| *why)
}

fn judge(cx: &mut Cx, name: String, is_known: bool, why: Option<&'static str>) {
    if let (false, Some(why)) = (is_known, why) {
        cx.fact("not tried", format!("{name}: {why}"));
    }
    cx.claim(&name, is_known || why.is_some(), || {
        Finding::new(format!("{name} is listed, and neither known here nor named as not tried"))
            .row("like", "a driver that is newer than the tables of formats, or a code that no document has")
    });
}

fn drm_formats(cx: &mut Cx, role: Role) -> Outcome {
    let listed: Vec<Fourcc> = match role {
        Gles => cx.gles()?.formats()?,
        Gbm => {
            let gbm = cx.gbm()?.gives;
            Fourcc::known().filter(|fourcc| gbm.supports(*fourcc, handover::gbm::Usage::LINEAR)).collect()
        }
        _ => {
            let kind = match role {
                Overlay => PlaneKind::Overlay,
                Cursor => PlaneKind::Cursor,
                _ => PlaneKind::Primary,
            };
            let screen = cx.screen()?;
            let written = if role == Screen { screen.writeback_formats().to_vec() } else { Vec::new() };
            screen.plane(kind)?.formats.iter().copied().chain(written).collect()
        }
    };
    cx.claim("formats", !listed.is_empty(), || Finding::new(format!("{role} lists no format")));
    for fourcc in BTreeSet::from_iter(listed) {
        judge(cx, fourcc.to_string(), fourcc.is_known(), reason(UNTRIED, fourcc.0));
    }
    cx.agree()
}

/// The nodes of the video device that plays `role`, with what their queues are for.
fn queues(cx: &mut Cx, role: Role) -> Result<Vec<(Arc<Device>, Direction)>, Trouble> {
    let both =
        |device: &Arc<Device>| [Direction::Output, Direction::Capture].map(|direction| (device.clone(), direction));
    Ok(match role {
        Converter => both(cx.converter()?.device()).to_vec(),
        Codec => {
            let codec = cx.codec()?;
            [both(codec.encoder()), both(codec.decoder())].concat()
        }
        _ => {
            let video = cx.video_loop(role)?;
            vec![(video.output().clone(), Direction::Output), (video.capture().clone(), Direction::Capture)]
        }
    })
}

fn pixel_formats(cx: &mut Cx, role: Role) -> Result<BTreeSet<PixelFormat>, Trouble> {
    let mut listed = BTreeSet::new();
    for (device, direction) in queues(cx, role)? {
        listed.extend(Queue::open(&device, direction)?.pixel_formats()?);
    }
    Ok(listed)
}

fn video_formats(cx: &mut Cx, role: Role) -> Outcome {
    let listed = pixel_formats(cx, role)?;
    cx.claim("formats", !listed.is_empty(), || Finding::new(format!("{role} lists no format")));
    for pixel in listed {
        let is_known = pixel.fourcc().is_some_and(Fourcc::is_known);
        judge(cx, pixel.to_string(), is_known, reason(UNTRIED_OF_VIDEO, pixel.0));
    }
    cx.agree()
}

/// Whatever format a loop lists that has a name in DRM, too, it hands on as it is.
fn passes(cx: &mut Cx) -> Outcome {
    let ends = exporters()
        .into_iter()
        .find(|from| from.role() == Udmabuf)
        .zip(importers().into_iter().find(|to| to.role() == Video));
    let Some((from, to)): Option<(&dyn Exporter, &dyn Importer)> = ends else { return cx.agree() };
    for fourcc in pixel_formats(cx, Video)?.into_iter().filter_map(PixelFormat::fourcc) {
        let parcel = Parcel { fourcc, size: SIZE, rows: Rows::Padded, start: Start::First, planes: Planes::Contiguous };
        if !to.can(&parcel) || to.lacks(cx, &parcel)?.is_some() {
            cx.fact("not tried", fourcc);
            continue;
        }
        let target = Target::stamped(STAMP, fourcc, SIZE)?;
        let mut exported = from.export(cx, &parcel, to)?;
        exported.draw(cx, STAMP)?;
        to.import(cx, exported.buffer())?.sees(cx, &target)?;
        if cx.disagrees() {
            break;
        }
    }
    cx.agree()
}
