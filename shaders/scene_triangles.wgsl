// Triangles as the vertex buffer says.

struct Vertex {
    @location(0) position: vec2f,
    @location(1) colour: vec4f,
}

struct Corner {
    @builtin(position) position: vec4f,
    @location(0) colour: vec4f,
}

@vertex
fn place(vertex: Vertex) -> Corner {
    return Corner(vec4f(vertex.position, 0.0, 1.0), vertex.colour);
}

@fragment
fn colour(in: Corner) -> @location(0) vec4f {
    return in.colour;
}
