/** A scale from 0 that ends on a round number, with round steps in between. */
export interface Scale {
  max: number
  step: number
}

/** The smallest round scale of about `steps` steps that reaches `highest`. */
export function scaleTo(highest: number, steps = 5): Scale {
  if (!(highest > 0) || !Number.isFinite(highest)) return { max: 1, step: 0.5 }
  const rough = highest / steps
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 2.5, 5, 10].map((digit) => digit * power).find((candidate) => candidate >= rough * 0.999) ?? rough
  // The rounding is against 0.30000000000000004.
  return {
    max: Number((Math.ceil((highest / step) * 0.9999) * step).toPrecision(12)),
    step: Number(step.toPrecision(12))
  }
}
