import type { BoxRun } from '../../record/box/recording.js'
import type { BoxVerdict } from './verdict.js'

/** A run of a box and its verdict. */
export interface JudgedBox {
  run: BoxRun
  verdict: BoxVerdict
}
