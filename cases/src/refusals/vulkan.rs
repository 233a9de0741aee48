//! What a Vulkan driver may refuse in a program that does nothing wrong: memory that it can't have, and calls for which
//! there is no fd left.
//!
//! - A dma-buf whose fd is open for reading only is a valid handle. A driver that needs more says
//!   `VK_ERROR_INVALID_EXTERNAL_HANDLE` to `vkGetMemoryFdPropertiesKHR` or `vkAllocateMemory` ("an external handle is
//!   not a valid handle of the specified type"), or takes it and can only read.
//! - `vkGetMemoryFdKHR`: `VK_ERROR_TOO_MANY_OBJECTS`, `VK_ERROR_OUT_OF_HOST_MEMORY`.
//! - "A successful import operation transfers ownership of the fd", and a failed one does not
//!   (`VkImportMemoryFdInfoKHR`): who fails leaves the fd, open, to its owner. The ledger looks at that whenever an
//!   import fails, in whatever case.

use handover::prelude::*;
use handover::v4l2::{Direction, Memory, PixelFormat, Queue, QueueFormat};

use super::judge;
use crate::drivers::{LAVAPIPE_25_0, LAVAPIPE_26};

const SIZE: Size = px(64, 64);

/// `O_CLOEXEC | O_RDONLY`.
const READ_ONLY: u32 = 0o2000000;

/// What these calls may say when they fail.
const REFUSALS: [&str; 4] = [
    "VK_ERROR_INVALID_EXTERNAL_HANDLE",
    "VK_ERROR_OUT_OF_DEVICE_MEMORY",
    "VK_ERROR_OUT_OF_HOST_MEMORY",
    "VK_ERROR_TOO_MANY_OBJECTS",
];

pub(super) fn register(cases: &mut Cases<Cx>) {
    for gpu in [GpuA, GpuB] {
        let case = cases
            .add(
                format!("refusals::vulkan_refuses_or_reads_a_buffer_that_is_open_for_reading_only::{gpu}"),
                move |cx| read_only(cx, gpu),
            )
            .from(Video)
            .to(gpu);
        if gpu == GpuA {
            let finding = "cases/findings/lavapipe-refused-import.md";
            case.known(LAVAPIPE_25_0, finding, "was closed by somebody else while it was in use");
        }
        if gpu == GpuB {
            case.must_fail_under("refused-import-unknown").fails_with("an fd for reading only is refused otherwise");
        }
        cases
            .add(format!("refusals::vulkan_says_that_there_is_no_fd_left::exporting::{gpu}"), move |cx| {
                no_fd_to_export(cx, gpu)
            })
            .from(gpu)
            .known(LAVAPIPE_25_0, "cases/findings/lavapipe-out-of-files.md", "an export without an fd left")
            .known(LAVAPIPE_26, "cases/findings/lavapipe-out-of-files.md", "an export without an fd left");
    }
}

/// The same buffer by two fds: one to read and write, one to read.
fn read_only(cx: &mut Cx, gpu: Role) -> Outcome {
    let gpu = cx.gpu(gpu)?;
    let mut queue = Queue::open(cx.video_loop(Video)?.output(), Direction::Output)?;
    let format = queue.set_format(&QueueFormat::new(PixelFormat::new(b"XR24"), SIZE, 0))?;
    let pitch = format.planes.first().map_or(0, |plane| u64::from(plane.pitch));
    let frame = Frame::linear(Fourcc::XR24, format.size, Plane { offset: 0, pitch });
    queue.request(Memory::Own, 1)?;
    let shared = SharedFrame { dmabuf: queue.export(0)?, frame: frame.clone() };
    let lent = SharedFrame { dmabuf: queue.export_as(0, 0, READ_ONLY)?, frame };
    cx.equals("the fd's access mode", "O_RDONLY".to_owned(), lent.dmabuf.access_mode()?.to_string());
    shared.write(&Pattern { stamp: 7 }.picture(Fourcc::XR24, SIZE)?)?;
    let target = Target::from(Pattern { stamp: 7 }.picture(Fourcc::XR24, SIZE)?);
    let how = ImportRequest::default();
    cx.sees("the importer", &target, &gpu.import_image(&shared, &how)?.read_back()?)?;
    match cx.failing("an import of an fd for reading only", |_| gpu.import_image(&lent, &how)) {
        Ok(image) => cx.sees("the importer, of the fd for reading", &target, &image.read_back()?)?,
        Err(error) => {
            cx.fact("refused", &error);
            judge(cx, "an fd for reading only", &REFUSALS, Err(error));
        }
    }
    cx.claim("the fd afterwards", lent.dmabuf.is_open(), || {
        Finding::new("the fd for reading was closed by the driver, to whom it was not given")
    });
    cx.sees("the importer afterwards", &target, &gpu.import_image(&shared, &how)?.read_back()?)?;
    cx.agree()
}

fn no_fd_to_export(cx: &mut Cx, gpu: Role) -> Outcome {
    let gpu = cx.gpu(gpu)?;
    let image = gpu.create_image(&ImageRequest {
        size: SIZE,
        fourcc: Fourcc::XR24,
        layout: Layout::Modifiers(vec![Modifier::LINEAR]),
        room: Room::Dedicated,
        export: vec![HandleType::DmaBuf],
    })?;
    image.draw_pattern(7)?;
    let before = image.export_dmabuf()?;
    let what = "an export without an fd left";
    let refuses = |answer: &Result<Result<()>, Trouble>| matches!(answer, Ok(Err(_)));
    let limited = |cx: &mut Cx| cx.with_files_left(0, |_| image.export_dmabuf().map(drop));
    let answer = cx.failing_by(what, refuses, limited)?;
    judge(cx, what, &REFUSALS, answer);
    let after = image.export_dmabuf()?;
    cx.equals("inode afterwards", before.dmabuf.inode(), after.dmabuf.inode());
    cx.sees("cpu", &Target::stamped(7, Fourcc::XR24, SIZE)?, &after.read_back()?)?;
    cx.agree()
}
