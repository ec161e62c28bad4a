// The index of an invocation in a one-dimensional call, which the engine may
// have folded into two dimensions. To be included after the workgroup's size is
// declared: before it, the size would be 1.
uint thread_index() {
  return gl_GlobalInvocationID.y * (gl_NumWorkGroups.x * gl_WorkGroupSize.x) + gl_GlobalInvocationID.x;
}
