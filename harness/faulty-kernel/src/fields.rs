//! A structure of the kernel's interface as bytes, whose fields are read and changed by their offset.

/// The bytes of a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields(pub Vec<u8>);

/// `_IOW(kind, number, size)`.
pub const fn writes(kind: u8, number: u8, size: u32) -> u32 {
    0x4000_0000 | size << 16 | (kind as u32) << 8 | number as u32
}

/// `_IOWR(kind, number, size)`.
pub const fn both(kind: u8, number: u8, size: u32) -> u32 {
    0x8000_0000 | writes(kind, number, size)
}

impl Fields {
    /// `size` bytes of zero.
    pub fn zeroed(size: usize) -> Self {
        Self(vec![0; size])
    }

    /// The `__u32` at `offset`; 0 if the structure ends before.
    pub fn u32(&self, offset: usize) -> u32 {
        self.0.get(offset..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    /// The `__u64` at `offset`; 0 if the structure ends before.
    pub fn u64(&self, offset: usize) -> u64 {
        self.0.get(offset..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }

    /// Changes the `__u32` at `offset`.
    pub fn set_u32(&mut self, offset: usize, value: u32) -> &mut Self {
        self.set(offset, &value.to_ne_bytes())
    }

    /// Changes the `__u64` at `offset`.
    pub fn set_u64(&mut self, offset: usize, value: u64) -> &mut Self {
        self.set(offset, &value.to_ne_bytes())
    }

    /// The same, but where it is still as in `changed` with what `asked` has there.
    #[must_use]
    pub fn unchanged_as(mut self, changed: &Self, asked: &Self) -> Self {
        for ((told, changed), asked) in self.0.iter_mut().zip(&changed.0).zip(&asked.0) {
            if told == changed {
                *told = *asked;
            }
        }
        self
    }

    fn set(&mut self, offset: usize, bytes: &[u8]) -> &mut Self {
        if let Some(field) = self.0.get_mut(offset..offset + bytes.len()) {
            field.copy_from_slice(bytes);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_kernel_has_them() {
        let mut fields = Fields::zeroed(16);
        fields.set_u32(4, 7).set_u64(8, 1 << 40).set_u32(14, 9);
        assert_eq!((fields.u32(0), fields.u32(4), fields.u64(8)), (0, 7, 1 << 40));
        assert_eq!(fields.u32(16), 0);
        assert_eq!(both(b'd', 0xb8, 104), 0xc068_64b8, "DRM_IOCTL_MODE_ADDFB2");
        assert_eq!(writes(b'b', 0, 8), 0x4008_6200, "DMA_BUF_IOCTL_SYNC");
    }

    #[test]
    fn who_asked_finds_what_he_asked_for_and_the_answer() {
        let (asked, changed, told) = (Fields(vec![1, 2, 0]), Fields(vec![1, 9, 0]), Fields(vec![1, 9, 7]));
        assert_eq!(told.unchanged_as(&changed, &asked), Fields(vec![1, 2, 7]));
    }
}
