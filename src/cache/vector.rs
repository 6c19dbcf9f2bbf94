//! Arithmetic on vectors, written so that the compiler can make vector code of it.

/// Sums that run side by side: floating-point addition is not associative, so the compiler may not split one sum by
/// itself.
const LANES: usize = 16;

/// The product of two vectors of one length: for normalised ones the cosine of their angle, in -1..=1. Vectors of
/// different lengths have nothing to do with each other: 0.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() {
        return 0.0;
    }
    let mut sums = [0.0_f32; LANES];
    let (a_runs, b_runs) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f32 = a_runs.remainder().iter().zip(b_runs.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_runs.zip(b_runs) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + tail
}

/// Gives a vector the length 1. `None`: it has none, or is not finite.
pub fn normalise(mut vector: Vec<f32>) -> Option<Vec<f32>> {
    let squares: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let length = squares.sqrt();
    if !length.is_finite() || length <= f64::from(f32::MIN_POSITIVE) {
        return None;
    }
    vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    Some(vector)
}

/// The middle of vectors of one length, normalised. `None`: there is none, their lengths differ, or they cancel out.
pub fn mean(vectors: &[Vec<f32>]) -> Option<Vec<f32>> {
    let mut sums = vec![0.0_f64; vectors.first()?.len()];
    for vector in vectors {
        if vector.len() != sums.len() {
            return None;
        }
        sums.iter_mut().zip(vector).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    normalise(sums.into_iter().map(|sum| (sum / vectors.len() as f64) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cosine_is_that_of_the_textbook_at_every_length() {
        for length in 1..70 {
            let a: Vec<f32> = (0..length).map(|i| (i as f32 * 0.7).sin() + 0.1).collect();
            let b: Vec<f32> = (0..length).map(|i| (i as f32 * 0.3).cos()).collect();
            let plain = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
            };
            let expected = plain(&a, &b) / (plain(&a, &a).sqrt() * plain(&b, &b).sqrt());
            let (a, b) = (normalise(a).unwrap(), normalise(b).unwrap());
            assert!((f64::from(cosine(&a, &b)) - expected).abs() < 1e-5, "length {length}");
            assert!((cosine(&a, &a) - 1.0).abs() < 1e-5);
        }
        assert_eq!(cosine(&[1.0], &[1.0, 0.0]), 0.0);
    }

    #[test]
    fn what_has_no_direction_is_no_vector() {
        assert_eq!(normalise(vec![0.0, 0.0]), None);
        assert_eq!(normalise(vec![]), None);
        assert_eq!(normalise(vec![f32::MAX, f32::INFINITY]), None);
        assert_eq!(normalise(vec![3.0, 4.0]), Some(vec![0.6, 0.8]));
        assert!(normalise(vec![f32::MAX, f32::MAX]).is_some(), "the square may be beyond f32");
        assert_eq!(mean(&[]), None);
        assert_eq!(mean(&[vec![1.0, 0.0], vec![-1.0, 0.0]]), None);
        assert_eq!(mean(&[vec![1.0], vec![1.0, 2.0]]), None);
        assert_eq!(mean(&[vec![2.0, 0.0], vec![4.0, 0.0]]), Some(vec![1.0, 0.0]));
    }
}
