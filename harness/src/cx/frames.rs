//! What a case draws and what must be seen: a frame that is to be made, one that was drawn, and its target.

use crate::error::{Error, Result};
use crate::format::{Fourcc, Modifier};
use crate::frame::{Plane, Size};
use crate::pattern::Pattern;
use crate::picture::Picture;
use crate::share::buffer::Buffer;
use crate::vk::{HandleType, Image, ImageRequest, Layout, Room};

/// What a reader must see.
#[derive(Clone, Debug)]
pub struct Target {
    /// The pixels.
    pub picture: Picture,
    /// What was in the buffer before, if that is known: tells a stale picture from a wrong one.
    pub before: Option<Picture>,
}

impl Target {
    /// The pattern of frame `stamp`, in a buffer that held frame `stamp - 1`.
    ///
    /// # Errors
    /// The pattern has no such format or size.
    pub fn stamped(stamp: u32, fourcc: Fourcc, size: Size) -> Result<Self> {
        let picture = Pattern { stamp }.picture(fourcc, size)?;
        let before = Pattern { stamp: stamp.wrapping_sub(1) }.picture(fourcc, size)?;
        Ok(Self { picture, before: Some(before) })
    }

    /// The pattern of frame `stamp`, which is drawn over this one.
    ///
    /// # Errors
    /// As [`Self::stamped`].
    pub fn followed_by(self, stamp: u32) -> Result<Self> {
        let picture = Pattern { stamp }.picture(self.picture.fourcc, self.picture.size)?;
        Ok(Self { picture, before: Some(self.picture) })
    }
}

impl From<Picture> for Target {
    fn from(picture: Picture) -> Self {
        Self { picture, before: None }
    }
}

/// A frame that a GPU is to make: format, size, and where it lies.
#[derive(Clone, Debug)]
pub struct NewFrame {
    /// Pixel format.
    pub fourcc: Fourcc,
    /// Width and height.
    pub size: Size,
    /// The modifiers that the driver may choose from, unless the layout is to be explicit.
    pub modifiers: Vec<Modifier>,
    /// Bytes between the end of a row and the start of the next, if the layout is to be explicit, and LINEAR.
    pub padding: Option<u64>,
    /// Place in memory.
    pub room: Room,
}

impl NewFrame {
    /// A LINEAR frame in memory of its own, with the driver's pitch.
    pub fn of(fourcc: Fourcc, size: Size) -> Self {
        Self { fourcc, size, modifiers: vec![Modifier::LINEAR], padding: None, room: Room::Dedicated }
    }

    /// In one of `modifiers`, with the driver's pitch.
    #[must_use]
    pub fn in_one_of(self, modifiers: &[Modifier]) -> Self {
        Self { modifiers: modifiers.to_vec(), ..self }
    }

    /// With a pitch of a row and `padding` bytes, by explicit layout.
    #[must_use]
    pub fn padded(self, padding: u64) -> Self {
        Self { padding: Some(padding), ..self }
    }

    /// With a pitch of `bytes`, by explicit layout.
    #[must_use]
    pub fn pitched(self, bytes: u64) -> Self {
        let row = self.fourcc.pixel().map_or(0, |pixel| u64::from(self.size.width) * u64::from(pixel.bytes));
        self.padded(bytes.saturating_sub(row))
    }

    /// At this place in memory.
    #[must_use]
    pub fn in_room(self, room: Room) -> Self {
        Self { room, ..self }
    }

    pub(super) fn request(&self) -> Result<ImageRequest> {
        let layout = match self.padding {
            None => Layout::Modifiers(self.modifiers.clone()),
            Some(padding) => {
                let bytes = self.fourcc.pixel().map(|pixel| pixel.bytes);
                let bytes =
                    bytes.ok_or_else(|| Error::input("making a frame", self.fourcc.to_string(), "not packed RGB"))?;
                let pitch = u64::from(self.size.width) * u64::from(bytes) + padding;
                Layout::Explicit(Modifier::LINEAR, vec![Plane { offset: 0, pitch }])
            }
        };
        let export = vec![HandleType::DmaBuf];
        Ok(ImageRequest { size: self.size, fourcc: self.fourcc, layout, room: self.room, export })
    }
}

/// A frame that a GPU made, drew, and handed out.
pub struct Drawn {
    /// The exporter's image.
    pub image: Image,
    /// What was handed out.
    pub buffer: Buffer,
    /// What every reader must see in it.
    pub target: Target,
}
