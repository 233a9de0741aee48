//! Who plays the roles that a case names.

use std::sync::Arc;

use super::Cx;
use crate::case::{Need, Outcome, Role, Trouble, Witness};
use crate::devices::Devices;
use crate::dmabuf::SharedFrame;
use crate::finding::Finding;
use crate::format::{Fourcc, Modifier};
use crate::frame::Size;
use crate::gbm::{GbmDevice, NodeKind};
use crate::gles::Gles;
use crate::kms::{Answer, Prime, Screen};
use crate::ledger;
use crate::peer::Peer;
use crate::share::heap::Heap;
use crate::share::heaps::Kind;
use crate::v4l2::{Codec, Converter, Loopback};
use crate::vk::{Gpu, Validation};

impl Cx {
    /// The GPU that plays `role`.
    ///
    /// # Errors
    /// A skip that says why there is none; a case that names the role has been skipped before. A finding if there may be
    /// one that does not open.
    pub fn gpu(&mut self, role: Role) -> Result<Gpu, Trouble> {
        let gpu = self.devices.gpu(role)?;
        if gpu.identity().validation == Validation::Off {
            self.case.record.unobserved.insert(Witness::Validation, Validation::why_off().to_owned());
        }
        Ok(gpu)
    }

    /// The device of [`Self::gpu`] once more, through an instance of its own.
    ///
    /// # Errors
    /// A finding: the device is there, so it must open twice.
    pub fn second_instance(&mut self, role: Role) -> Result<Gpu, Trouble> {
        self.devices.second_instance(role).map_err(|why| Finding::new(why.to_string()).into())
    }

    /// Another process that plays `role`.
    ///
    /// # Errors
    /// A finding: it can't be started, or it has ended in the middle of this case.
    pub fn peer(&mut self, role: Role) -> Result<&mut Peer, Trouble> {
        Ok(self.devices.peer(role)?)
    }

    /// The OpenGL ES device.
    ///
    /// # Errors
    /// As [`Self::gpu`].
    pub fn gles(&mut self) -> Result<Gles, Trouble> {
        Ok(self.devices.gles()?)
    }

    /// OpenGL ES on a node of the GBM device, instead of EGL's surfaceless platform.
    ///
    /// # Errors
    /// As [`Self::gpu`]; a skip if the device has no such node.
    pub fn gles_on_gbm(&mut self, node: NodeKind) -> Result<Gles, Trouble> {
        Ok(self.devices.gles_on_gbm(node)?)
    }

    /// The DRM device that libgbm drives.
    ///
    /// # Errors
    /// As [`Self::gpu`].
    pub fn gbm(&mut self) -> Result<GbmDevice, Trouble> {
        Ok(self.devices.gbm()?)
    }

    /// The video device that shows what it is given, and plays `role`: `video`, `dma_video` or `planar_video`.
    ///
    /// # Errors
    /// As [`Self::gpu`].
    pub fn video_loop(&mut self, role: Role) -> Result<Loopback, Trouble> {
        Ok(self.devices.video_loop(role)?)
    }

    /// The video device that makes another frame of each that it is given, from memory to memory.
    ///
    /// # Errors
    /// As [`Self::gpu`].
    pub fn converter(&mut self) -> Result<Converter, Trouble> {
        Ok(self.devices.converter()?)
    }

    /// The video device that makes streams of frames, and frames of streams.
    ///
    /// # Errors
    /// As [`Self::gpu`].
    pub fn codec(&mut self) -> Result<Codec, Trouble> {
        Ok(self.devices.codec()?)
    }

    /// Lets go of every video device that has been unplugged; whoever needs it finds it again when it is back.
    pub fn forget_unplugged(&mut self) {
        if self.devices.forget_unplugged() {
            ledger::letting_go(|| self.importers = None);
        }
    }

    /// Who plays the roles: for an end to open its device.
    pub(crate) fn devices(&mut self) -> &mut Devices {
        &mut self.devices
    }

    /// The card that plays `role`, as one that takes buffers.
    ///
    /// # Errors
    /// As [`Self::gpu`].
    pub fn prime(&mut self, role: Role) -> Result<Prime, Trouble> {
        Ok(self.devices.prime(role, 0)?)
    }

    /// The card of [`Self::prime`], opened once more.
    ///
    /// # Errors
    /// As [`Self::gpu`].
    pub fn second_prime(&mut self, role: Role) -> Result<Prime, Trouble> {
        Ok(self.devices.prime(role, 1)?)
    }

    /// What the plane that plays `role` has against a plain frame; `None` if nothing.
    ///
    /// # Errors
    /// As [`Self::gpu`]; or the card makes no such frame.
    pub(crate) fn refusal_of(&mut self, role: Role, fourcc: Fourcc, size: Size) -> Result<Option<String>, Trouble> {
        let screen = self.screen_of(role)?;
        let plain = screen.plain(fourcc, Modifier::LINEAR, size)?;
        Ok(match screen.answer(Devices::plane_of(role), &plain)? {
            Answer::Taken => None,
            Answer::NoFramebuffer(why) | Answer::NotOnPlane(why) => Some(why.to_string()),
        })
    }

    /// What this machine lacks of `need`; `None` if nothing.
    ///
    /// # Errors
    /// As [`Self::gpu`].
    pub fn lack_of(&mut self, need: &Need) -> Result<Option<String>, Trouble> {
        Ok(self.lacks(need)?)
    }

    /// The heap that plays `role`.
    ///
    /// # Errors
    /// A skip that says why there is none.
    pub fn heap(&mut self, role: Role) -> Result<Arc<dyn Heap>, Trouble> {
        self.devices.heap(role).map_err(Trouble::Skip)
    }

    /// The screen.
    ///
    /// # Errors
    /// As [`Self::gpu`].
    pub fn screen(&mut self) -> Result<&mut Screen, Trouble> {
        self.screen_of(Role::Screen)
    }

    /// The screen that plays `role`, or whose plane does.
    ///
    /// # Errors
    /// As [`Self::gpu`].
    pub fn screen_of(&mut self, role: Role) -> Result<&mut Screen, Trouble> {
        Ok(self.devices.screen(role)?)
    }

    /// A skip if the screen makes no framebuffer of `shared` because it shows no memory of others.
    ///
    /// # Errors
    /// That, or the screen can't be asked.
    pub fn skips_foreign(&mut self, shared: &SharedFrame) -> Outcome {
        Ok(self.screen()?.takes(shared).map(drop)?)
    }

    /// Every heap of `kind`.
    ///
    /// # Errors
    /// A skip that says why there is none.
    pub fn heaps(&mut self, kind: Kind) -> Result<Vec<Arc<dyn Heap>>, Trouble> {
        self.devices.heaps(kind).map_err(Trouble::Skip)
    }
}
