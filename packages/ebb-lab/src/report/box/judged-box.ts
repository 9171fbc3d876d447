import type { BoxRun } from '../../record/box/recording.js'
import type { BoxSums, BoxVerdict } from './verdict.js'

/** A run of a box and its sums, which is what charts need. */
export interface SummedBox {
  run: BoxRun
  verdict: BoxSums
}

/** A run of a box and its verdict. */
export interface JudgedBox {
  run: BoxRun
  verdict: BoxVerdict
}
