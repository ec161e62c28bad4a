// The numbers that change from step to step; alexnet/device.go writes them.
#define STEP_BUFFER(N) layout(binding = N) readonly buffer Step { uint seed_low, seed_high, step_count; float learning_rate, gradient_scale, loss_scale; }
