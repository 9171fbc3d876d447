/**
 * `box()`: runs several servers on one machine, each with its own load. One sampler records them all, and they are
 * judged together. With variants, the same servers and loads run again, each time with other commands or settings.
 */
import { join } from 'node:path'
import { MemoryGroup } from '../../process/memory-group.js'
import { BoxRecorder } from '../../record/box/recorder.js'
import { type BoxReport, reportBoxes } from '../../report/box/report.js'
import { type BoxLimits, brokenBoxes } from '../../report/box/verdict.js'
import type { Limits } from '../../report/limits.js'
import { makeDirectory } from '../../report/write-file.js'
import { readBoxFile } from './file.js'
import type { BoxPlan } from './plan.js'
import { type BoxProgress, type RunContext, run } from './run.js'
import { controlServers, mainServers, variantsFor } from './variants.js'

export type { BoxProgress } from './run.js'

/** Options of {@link box}. Sizes are bytes. */
export interface BoxOptions {
  /** Directory for `box.ndjson` (the recording), `report.html` and `box.svg`. Nothing is written without it. */
  out?: string
  /** Memory for which to compute how many such servers fit. Default: `memory` of the file. */
  memory?: number
  /** Size of a memory cgroup that all servers run in. Default: `limit` of the file. */
  limit?: number
  /** Names of the variants to run. Default: all variants of the file. */
  variants?: readonly string[]
  /**
   * Runs fresh servers under small pulses before each variant, to measure what they need.
   *
   * @default true
   */
  control?: boolean
  /** Limits of each server's verdict and of the box. Exceeded limits are listed in {@link BoxResult.broken}. */
  limits?: Limits & BoxLimits
  /**
   * Aborts the box: it ends every process that it started and rejects with the signal's reason. The recording up to
   * that moment can be read.
   */
  signal?: AbortSignal
  /** Called as the box proceeds. */
  onEvent?: (event: BoxProgress) => void
}

/** The result of {@link box}. */
export interface BoxResult extends BoxReport {
  /** A sentence for each exceeded limit. */
  broken: string[]
  /** Number of failed connects, lost connections, missing echoes, and servers that ended early. */
  failures: number
}

/**
 * Runs a box: each variant, after a control run of it.
 *
 * ```ts
 * const { boxes } = await box('box.yaml', { memory: 8e9 })
 * console.log(boxes[0]?.peakOfSums, boxes[0]?.gain)
 * ```
 *
 * @param file path of the box's file, or the result of `readBoxFile()`
 * @throws BoxFileError if the file is invalid, or this machine cannot run it; RecordError if the cgroup for a limit
 *   cannot be made, a variant is unknown, or the recording cannot be written; ReportError if `out` cannot be written
 */
export async function box(file: string | BoxPlan, options: BoxOptions = {}): Promise<BoxResult> {
  const plan = typeof file === 'string' ? readBoxFile(file) : file
  const variants = variantsFor(plan, options.variants)
  const { out, signal } = options
  const memory = options.memory ?? plan.memory
  const limit = options.limit ?? plan.limit
  if (out !== undefined) await makeDirectory(out)
  // Fails before any server is started if this user may not make a cgroup.
  if (limit !== null) await new MemoryGroup(limit).remove()
  const path = out === undefined ? undefined : join(out, 'box.ndjson')
  const recorder = new BoxRecorder({
    name: plan.name,
    ...(path !== undefined && { out: path }),
    ...(memory !== null && { memory })
  })
  const failed = new AbortController()
  recorder.failed.catch((error) => failed.abort(error))
  const stop = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal])
  const context: RunContext = { recorder, plan, stop, onEvent: options.onEvent ?? (() => {}) }
  let done = false
  try {
    for (const variant of variants) {
      const controls = options.control === false ? [] : controlServers(variant)
      if (controls.length > 0) await run(context, variant.name, 'control', controls, null)
      await run(context, variant.name, 'main', mainServers(variant, controls), limit)
    }
    done = true
  } finally {
    recorder.close(done ? 'done' : 'stopped')
  }
  const report = await reportBoxes([recorder.box], { ...(out !== undefined && { out }) })
  const broken = brokenBoxes(report.boxes, options.limits ?? {})
  const failures = report.boxes.reduce((sum, verdict) => sum + verdict.failures, 0)
  return { ...report, files: [...(path === undefined ? [] : [path]), ...report.files], broken, failures }
}
