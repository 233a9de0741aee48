#![expect(unsafe_code, reason = "creates pipelines")]
//! The shaders of the harness as pipelines: made at first use, kept as long as their device.

use std::collections::HashMap;
use std::ffi::CStr;
use std::mem::size_of;
use std::sync::{Arc, Mutex, PoisonError};

use ash::vk;

use super::error::failed;
use super::gpu::{Device, Gpu};
use super::owned::Owned;
use crate::error::Result;
use crate::ledger::objects::cached;
use crate::scene::{SceneShader, Vertex};

/// A compiled shader of `shaders/`.
macro_rules! spirv {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".spv"))
    };
}

/// What a pipeline does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Work {
    /// Draws the stamped pattern.
    Pattern,
    /// Samples every pixel into a buffer.
    Sample,
    /// Fills a buffer with noise.
    Fill,
    /// Draws a part of a scene.
    Scene(SceneShader),
}

/// A pipeline with its layout.
pub(super) struct Pipeline {
    pub(super) raw: Owned<vk::Pipeline>,
    pub(super) layout: Owned<vk::PipelineLayout>,
    /// The one descriptor set, of these types in the order of their bindings; each used in all stages.
    pub(super) set: Owned<vk::DescriptorSetLayout>,
    pub(super) bindings: &'static [vk::DescriptorType],
}

/// The pipelines of a device, by what they do and the format they draw to (`UNDEFINED` for compute).
#[derive(Default)]
pub(super) struct Pipelines(Mutex<HashMap<(Work, vk::Format), Arc<Pipeline>>>);

/// What a pipeline is made of.
struct Recipe {
    spirv: &'static [u8],
    stages: Stages,
    bindings: &'static [vk::DescriptorType],
    /// Size of the shader's immediates (push constants), in bytes.
    immediates: u32,
}

enum Stages {
    Compute(&'static CStr),
    Draw { vertex: &'static CStr, fragment: &'static CStr, blend: bool, mesh: bool },
}

impl Work {
    fn recipe(self) -> Recipe {
        const SAMPLED: [vk::DescriptorType; 2] = [vk::DescriptorType::SAMPLED_IMAGE, vk::DescriptorType::SAMPLER];
        const TO_BUFFER: vk::DescriptorType = vk::DescriptorType::STORAGE_BUFFER;
        match self {
            Self::Pattern => Recipe {
                spirv: spirv!("pattern"),
                stages: Stages::Draw { vertex: c"cover", fragment: c"draw", blend: false, mesh: false },
                bindings: &[],
                immediates: 32,
            },
            Self::Sample => Recipe {
                spirv: spirv!("sample"),
                stages: Stages::Compute(c"look"),
                bindings: const { &[SAMPLED[0], SAMPLED[1], TO_BUFFER] },
                immediates: 8,
            },
            Self::Fill => Recipe {
                spirv: spirv!("fill"),
                stages: Stages::Compute(c"write"),
                bindings: const { &[TO_BUFFER] },
                immediates: 8,
            },
            Self::Scene(shader) => Recipe {
                spirv: match shader {
                    SceneShader::Gradient => spirv!("scene_gradient"),
                    SceneShader::Triangles => spirv!("scene_triangles"),
                    SceneShader::Quad => spirv!("scene_quad"),
                    SceneShader::Confetti => spirv!("scene_confetti"),
                },
                stages: Stages::Draw {
                    vertex: c"place",
                    fragment: c"colour",
                    blend: shader.is_blended(),
                    mesh: shader == SceneShader::Triangles,
                },
                bindings: if shader.is_textured() { const { &SAMPLED } } else { &[] },
                immediates: 0,
            },
        }
    }
}

impl Gpu {
    /// The pipeline for `work` on attachments of `format`.
    pub(super) fn pipeline(&self, work: Work, format: vk::Format) -> Result<Arc<Pipeline>> {
        let mut made = self.pipelines().0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = made.get(&(work, format)) {
            return Ok(Arc::clone(pipeline));
        }
        let pipeline = Arc::new(cached(|| Pipeline::create(self.device(), work, format))?);
        made.insert((work, format), Arc::clone(&pipeline));
        Ok(pipeline)
    }
}

impl Pipeline {
    fn create(device: &Arc<Device>, work: Work, format: vk::Format) -> Result<Self> {
        let object = || device.object(format!("{work:?} on {format:?}"));
        let recipe = work.recipe();

        let stage_flags = vk::ShaderStageFlags::ALL;
        let bindings: Vec<_> = (0u32..)
            .zip(recipe.bindings)
            .map(|(n, &kind)| {
                let binding = vk::DescriptorSetLayoutBinding::default().binding(n).descriptor_type(kind);
                binding.descriptor_count(1).stage_flags(stage_flags)
            })
            .collect();
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: `info` lives during the call.
        let set = unsafe { device.create_descriptor_set_layout(&info, None) }
            .map_err(|code| failed("vkCreateDescriptorSetLayout", object(), code))?;
        // SAFETY: just created, owned by nobody else.
        let set = unsafe { Owned::new(device, set) };

        let sets = [set.raw()];
        let ranges = [vk::PushConstantRange { stage_flags, offset: 0, size: recipe.immediates }];
        let mut info = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
        if recipe.immediates > 0 {
            info = info.push_constant_ranges(&ranges);
        }
        // SAFETY: the set layout is live; the immediates are under the 128 bytes that every device allows.
        let layout = unsafe { device.create_pipeline_layout(&info, None) }
            .map_err(|code| failed("vkCreatePipelineLayout", object(), code))?;
        // SAFETY: just created, owned by nobody else.
        let layout = unsafe { Owned::new(device, layout) };

        let words: Vec<u32> =
            recipe.spirv.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
        let info = vk::ShaderModuleCreateInfo::default().code(&words);
        // SAFETY: SPIR-V that naga made and validated.
        let module = unsafe { device.create_shader_module(&info, None) }
            .map_err(|code| failed("vkCreateShaderModule", object(), code))?;
        // SAFETY: just created, owned by nobody else.
        let module = unsafe { Owned::new(device, module) };

        let raw = match recipe.stages {
            Stages::Compute(entry) => compute(device, module.raw(), layout.raw(), entry),
            Stages::Draw { vertex, fragment, blend, mesh } => {
                draw(device, module.raw(), layout.raw(), [vertex, fragment], format, blend, mesh)
            }
        }
        .map_err(|(op, code)| failed(op, object(), code))?;
        // SAFETY: just created, owned by nobody else.
        let raw = unsafe { Owned::new(device, raw) };
        Ok(Self { raw, layout, set, bindings: recipe.bindings })
    }
}

type Made = Result<vk::Pipeline, (&'static str, vk::Result)>;

fn compute(device: &Device, module: vk::ShaderModule, layout: vk::PipelineLayout, entry: &CStr) -> Made {
    let stage =
        vk::PipelineShaderStageCreateInfo::default().stage(vk::ShaderStageFlags::COMPUTE).module(module).name(entry);
    let info = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout)];
    // SAFETY: module and layout are live, and the module has this entry point.
    match unsafe { device.create_compute_pipelines(vk::PipelineCache::null(), &info, None) } {
        Ok(made) => Ok(made[0]),
        Err((_, code)) => Err(("vkCreateComputePipelines", code)),
    }
}

fn draw(
    device: &Device,
    module: vk::ShaderModule,
    layout: vk::PipelineLayout,
    [vertex, fragment]: [&CStr; 2],
    format: vk::Format,
    blend: bool,
    mesh: bool,
) -> Made {
    let stage = |stage, entry| vk::PipelineShaderStageCreateInfo::default().stage(stage).module(module).name(entry);
    let stages = [stage(vk::ShaderStageFlags::VERTEX, vertex), stage(vk::ShaderStageFlags::FRAGMENT, fragment)];
    let buffers = [vk::VertexInputBindingDescription::default().stride(size_of::<Vertex>() as u32)];
    let attribute = |location, format, offset| {
        vk::VertexInputAttributeDescription::default().location(location).format(format).offset(offset as u32)
    };
    let attributes = [
        attribute(0, vk::Format::R32G32_SFLOAT, std::mem::offset_of!(Vertex, position)),
        attribute(1, vk::Format::R32G32B32A32_SFLOAT, std::mem::offset_of!(Vertex, colour)),
    ];
    let mut input = vk::PipelineVertexInputStateCreateInfo::default();
    if mesh {
        input = input.vertex_binding_descriptions(&buffers).vertex_attribute_descriptions(&attributes);
    }
    let assembly = vk::PipelineInputAssemblyStateCreateInfo::default().topology(vk::PrimitiveTopology::TRIANGLE_LIST);
    let viewport = vk::PipelineViewportStateCreateInfo::default().viewport_count(1).scissor_count(1);
    let raster = vk::PipelineRasterizationStateCreateInfo::default().line_width(1.0);
    let multisample =
        vk::PipelineMultisampleStateCreateInfo::default().rasterization_samples(vk::SampleCountFlags::TYPE_1);
    // Premultiplied source over destination.
    let blends = [vk::PipelineColorBlendAttachmentState::default()
        .blend_enable(blend)
        .src_color_blend_factor(vk::BlendFactor::ONE)
        .dst_color_blend_factor(vk::BlendFactor::ONE_MINUS_SRC_ALPHA)
        .src_alpha_blend_factor(vk::BlendFactor::ONE)
        .dst_alpha_blend_factor(vk::BlendFactor::ONE_MINUS_SRC_ALPHA)
        .color_write_mask(vk::ColorComponentFlags::RGBA)];
    let blending = vk::PipelineColorBlendStateCreateInfo::default().attachments(&blends);
    let states = [vk::DynamicState::VIEWPORT, vk::DynamicState::SCISSOR];
    let dynamic = vk::PipelineDynamicStateCreateInfo::default().dynamic_states(&states);
    let formats = [format];
    let mut rendering = vk::PipelineRenderingCreateInfo::default().color_attachment_formats(&formats);
    let info = [vk::GraphicsPipelineCreateInfo::default()
        .stages(&stages)
        .vertex_input_state(&input)
        .input_assembly_state(&assembly)
        .viewport_state(&viewport)
        .rasterization_state(&raster)
        .multisample_state(&multisample)
        .color_blend_state(&blending)
        .dynamic_state(&dynamic)
        .layout(layout)
        .push_next(&mut rendering)];
    // SAFETY: everything that `info` points to lives during the call; module and layout are live, and the module
    // has both entry points.
    match unsafe { device.create_graphics_pipelines(vk::PipelineCache::null(), &info, None) } {
        Ok(made) => Ok(made[0]),
        Err((_, code)) => Err(("vkCreateGraphicsPipelines", code)),
    }
}
