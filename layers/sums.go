package layers

// float is what the sums of the CPU loops read; they always add in float64.
type float interface{ float32 | float64 }

// dot is the sum of a[i]*b[i]. Four partial sums keep the processor's adders
// busy: one would wait for itself at every step.
func dot[A, B float](a []A, b []B) float64 {
	b = b[:len(a)]
	var s0, s1, s2, s3 float64
	i := 0
	for ; i+4 <= len(a); i += 4 {
		p, q := a[i:i+4:i+4], b[i:i+4:i+4]
		s0 += float64(p[0]) * float64(q[0])
		s1 += float64(p[1]) * float64(q[1])
		s2 += float64(p[2]) * float64(q[2])
		s3 += float64(p[3]) * float64(q[3])
	}
	for ; i < len(a); i++ {
		s0 += float64(a[i]) * float64(b[i])
	}
	return (s0 + s1) + (s2 + s3)
}

// addScaled adds k*a[i] to sum[i].
func addScaled[A float](sum []float64, k float32, a []A) {
	a = a[:len(sum)]
	f := float64(k)
	i := 0
	for ; i+4 <= len(sum); i += 4 {
		p, q := sum[i:i+4:i+4], a[i:i+4:i+4]
		p[0] += f * float64(q[0])
		p[1] += f * float64(q[1])
		p[2] += f * float64(q[2])
		p[3] += f * float64(q[3])
	}
	for ; i < len(sum); i++ {
		sum[i] += f * float64(a[i])
	}
}

// accumulate adds float64 sums to gradients kept in float32.
func accumulate(grad []float32, sum []float64) {
	for i, v := range sum {
		grad[i] = float32(float64(grad[i]) + v)
	}
}

// store rounds float64 sums to float32.
func store(dst []float32, sum []float64) {
	for i, v := range sum {
		dst[i] = float32(v)
	}
}
