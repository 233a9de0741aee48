//! Controls, inputs, outputs and rectangles of a V4L2 device, by the names that drivers give them.

use std::fmt;

use rustix::io::Errno;

use super::uapi::{self, Control, Input, Output, QueryCtrl, QueryMenu, Selection};
use super::{Device, Queue, ioctl};
use crate::error::{Error, Result};
use crate::frame::Size;

/// More of anything than a driver lists; a longer list is a driver's error.
const LONGEST_LIST: u32 = 1024;

impl Device {
    /// Sets the control called `name` to `value`.
    pub(super) fn set_control(&self, name: &str, value: i32) -> Result<()> {
        self.set(name, self.control(name)?.id, value)
    }

    /// Sets the menu called `name` to its item called `item`.
    pub(super) fn choose_control(&self, name: &str, item: &str) -> Result<()> {
        let control = self.control(name)?;
        let mut items = Vec::new();
        if control.kind == uapi::CTRL_TYPE_MENU {
            for index in (control.minimum.max(0)..=control.maximum).take(LONGEST_LIST as usize) {
                let mut menu = QueryMenu { id: control.id, index: index.cast_unsigned(), ..QueryMenu::default() };
                match ioctl::QUERYMENU.ask(self, &mut menu) {
                    Ok(()) if uapi::text(&menu.name) == item => return self.set(name, control.id, index),
                    Ok(()) => items.push(uapi::text(&menu.name)),
                    // A menu can have gaps.
                    Err(Errno::INVAL) => {}
                    Err(errno) => return Err(self.error(ioctl::QUERYMENU.name, name, errno)),
                }
            }
        }
        let why = format!("it has no item `{item}`; its items are {items:?}");
        Err(Error::missing(ioctl::S_CTRL.name, format!("{self}, {name}"), why))
    }

    fn set(&self, name: &str, id: u32, value: i32) -> Result<()> {
        let mut control = Control { id, value };
        let object = format!("{name} = {value}");
        ioctl::S_CTRL.ask(self, &mut control).map_err(|errno| self.error(ioctl::S_CTRL.name, object, errno))
    }

    /// Whether it has a control whose name ends with `end`.
    pub(super) fn has_control(&self, end: &str) -> Result<bool> {
        Ok(self.find_control(|name| name.ends_with(end))?.is_ok())
    }

    /// The first control whose name `is` the one; the names of all if there is none.
    fn find_control(&self, is: impl Fn(&str) -> bool) -> Result<Result<QueryCtrl, Vec<String>>> {
        let mut names = Vec::new();
        let mut id = 0;
        for _ in 0..LONGEST_LIST {
            let mut control = QueryCtrl { id: id | uapi::CTRL_FLAG_NEXT_CTRL, ..QueryCtrl::default() };
            match ioctl::QUERYCTRL.ask(self, &mut control) {
                Ok(()) if is(&uapi::text(&control.name)) => return Ok(Ok(control)),
                Ok(()) => {
                    names.push(uapi::text(&control.name));
                    id = control.id;
                }
                Err(Errno::INVAL | Errno::NOTTY) => break,
                Err(errno) => return Err(self.error(ioctl::QUERYCTRL.name, format_args!("control {id}"), errno)),
            }
        }
        Ok(Err(names))
    }

    fn control(&self, name: &str) -> Result<QueryCtrl> {
        let names = match self.find_control(|other| other == name)? {
            Ok(control) => return Ok(control),
            Err(names) => names,
        };
        let why = format!("it has no control of this name; its controls are {names:?}");
        Err(Error::missing(ioctl::QUERYCTRL.name, format!("{self}, {name}"), why))
    }

    /// Captures from the first input whose name begins with `prefix`; returns the name.
    pub(super) fn choose_input(&self, prefix: &str) -> Result<String> {
        self.choose(prefix, "input", (ioctl::ENUMINPUT.name, ioctl::S_INPUT), |index| {
            let mut input = Input { index, ..Input::default() };
            ioctl::ENUMINPUT.ask(self, &mut input).map(|()| uapi::text(&input.name))
        })
    }

    /// Sends to the first output whose name begins with `prefix`; returns the name.
    pub(super) fn choose_output(&self, prefix: &str) -> Result<String> {
        self.choose(prefix, "output", (ioctl::ENUMOUTPUT.name, ioctl::S_OUTPUT), |index| {
            let mut output = Output { index, ..Output::default() };
            ioctl::ENUMOUTPUT.ask(self, &mut output).map(|()| uapi::text(&output.name))
        })
    }

    fn choose(
        &self,
        prefix: &str,
        kind: &str,
        (list, set): (&'static str, ioctl::Call<u32>),
        name: impl Fn(u32) -> Result<String, Errno>,
    ) -> Result<String> {
        let mut names = Vec::new();
        for index in 0..LONGEST_LIST {
            let name = match name(index) {
                Ok(name) => name,
                // The end of the list, or a device that has no such list.
                Err(Errno::INVAL | Errno::NOTTY) => break,
                Err(errno) => return Err(self.error(list, format_args!("{kind} {index}"), errno)),
            };
            if name.starts_with(prefix) {
                let mut chosen = index;
                set.ask(self, &mut chosen)
                    .map_err(|errno| self.error(set.name, format_args!("{kind} {name}"), errno))?;
                return Ok(name);
            }
            names.push(name);
        }
        let why = format!("no {kind} is called `{prefix}…`; there is {names:?}");
        Err(Error::missing(set.name, self.to_string(), why))
    }
}

/// Which rectangle of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rectangle {
    /// The part of the source that is taken.
    Crop,
    /// Where it goes in the target.
    Compose,
}

impl fmt::Display for Rectangle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Crop => "crop",
            Self::Compose => "compose",
        })
    }
}

impl Queue {
    /// Sets a rectangle of the queue to `size` at the top left.
    pub(super) fn select(&self, rectangle: Rectangle, size: Size) -> Result<()> {
        let target = match rectangle {
            Rectangle::Crop => uapi::SEL_TGT_CROP,
            Rectangle::Compose => uapi::SEL_TGT_COMPOSE,
        };
        // The multi-planar types are not allowed in this call (the kernel takes them since 4.13 all the same).
        let buf_type = match self.buf_type() {
            uapi::BUF_TYPE_VIDEO_CAPTURE_MPLANE => uapi::BUF_TYPE_VIDEO_CAPTURE,
            uapi::BUF_TYPE_VIDEO_OUTPUT_MPLANE => uapi::BUF_TYPE_VIDEO_OUTPUT,
            single => single,
        };
        let Size { width, height } = size;
        let mut selection = Selection { buf_type, target, width, height, ..Selection::default() };
        let object = || format!("{self}, {rectangle} {size}");
        ioctl::S_SELECTION
            .ask(self.device(), &mut selection)
            .map_err(|errno| Error::new(ioctl::S_SELECTION.name, object(), errno))?;
        let (left, top) = (selection.left, selection.top);
        let given = Size { width: selection.width, height: selection.height };
        if (left, top, given) == (0, 0, size) {
            return Ok(());
        }
        let why = format!("the driver makes {given} at {left}, {top} of it");
        Err(Error::missing(ioctl::S_SELECTION.name, object(), why))
    }
}
