/** A scale from 0 to a round number, with round steps. */
export interface Scale {
  max: number
  step: number
}

/** Returns the smallest round scale of about `steps` steps that reaches `highest`. */
export function scaleTo(highest: number, steps = 5): Scale {
  if (!(highest > 0) || !Number.isFinite(highest)) return { max: 1, step: 0.5 }
  const rough = highest / steps
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 2.5, 5, 10].map((digit) => digit * power).find((candidate) => candidate >= rough * 0.999) ?? rough
  // Rounded, because of sums like 0.30000000000000004.
  return {
    max: Number((Math.ceil((highest / step) * 0.9999) * step).toPrecision(12)),
    step: Number(step.toPrecision(12))
  }
}

/**
 * Returns the powers of ten around values above 0, for a logarithmic scale. A lowest value that is up to a fifth below
 * a power of ten counts as that power: one more decade would squeeze the other curves.
 */
export function decadesOf(lowest: number, highest: number): { min: number; max: number } {
  const top = Math.ceil(Math.log10(highest > 0 ? highest : 1))
  const bottom = Math.floor(Math.log10(lowest > 0 ? lowest * 1.25 : 0.1))
  return { min: 10 ** Math.min(bottom, top - 1), max: 10 ** top }
}
