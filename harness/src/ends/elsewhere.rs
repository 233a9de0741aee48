//! Importers of other processes: a frame's fd and its layout are sent there, and what is seen comes back as pixels.

use super::{Imported, Importer, Way};
use crate::case::{Outcome, Role, Trouble};
use crate::cx::{Cx, Guest, Target};
use crate::devices::Devices;
use crate::dmabuf::SharedFrame;
use crate::error::Result;
use crate::picture::Picture;
use crate::share::buffer::Buffer;
use crate::share::core::Access;

/// A device as a peer has it: it runs no case, and takes a frame in for one look or one drawing.
pub trait Elsewhere {
    /// What it sees of `shared`, which it takes in as memory for it alone (`dedicated`) where it knows of such.
    ///
    /// # Errors
    /// There is no such device, or its driver refuses.
    fn read(&self, devices: &mut Devices, shared: &SharedFrame, dedicated: bool) -> Result<Picture>;

    /// Draws the pattern of `stamp` into `shared`, likewise.
    ///
    /// # Errors
    /// As [`Self::read`]; one that any device may answer if it does not draw to such frames.
    fn draw(&self, devices: &mut Devices, shared: &SharedFrame, dedicated: bool, stamp: u32) -> Result<()>;
}

/// `buffer` in the hands of who plays the role of `to` in another process, by `way`.
pub(super) fn taken(to: &dyn Importer, buffer: &Buffer, way: Way) -> Box<dyn Imported> {
    Box::new(TakenIn { role: to.role(), buffer: buffer.clone(), dedicated: way.dedicated })
}

/// A frame that the other process takes in once more for each look.
struct TakenIn {
    role: Role,
    buffer: Buffer,
    dedicated: bool,
}

impl Imported for TakenIn {
    fn sees(&mut self, cx: &mut Cx, target: &Target) -> Result<(), Trouble> {
        let guest = Guest::Peer(self.role);
        let actual = cx.mapped(&guest, &self.buffer, Access::Read, |cx, shared| {
            let read = cx.peer(self.role)?.read(shared, self.dedicated);
            read.map_err(|error| cx.refused_by(&guest, shared, &error))
        })?;
        Ok(cx.sees(cx.name_of(&guest), target, &actual)?)
    }

    fn draw(&mut self, cx: &mut Cx, stamp: u32) -> Outcome {
        let guest = Guest::Peer(self.role);
        cx.fact("then drawn by", cx.name_of(&guest));
        cx.mapped(&guest, &self.buffer, Access::Write, |cx, shared| {
            let drawn = cx.peer(self.role)?.draw_into(shared, self.dedicated, stamp);
            drawn.map_err(|error| cx.refused_by(&guest, shared, &error))
        })
    }
}
