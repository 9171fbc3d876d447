/**
 * `box()`: runs several servers on one machine, each with its own load. One sampler records them all, and they are
 * judged together. With variants, the same servers and loads run again, each time with other commands or settings.
 */
import { join } from 'node:path'
import { checkObject, warnOfUnknown } from 'ebb/sys'
import { MemoryGroup } from '../../process/memory-group.js'
import { checkKernel } from '../../pulse/kernel.js'
import { BoxRecorder } from '../../record/box/recorder.js'
import type { BoxRecording, BoxRun } from '../../record/box/recording.js'
import { recordingsOf, removeEarlier, type Series } from '../../record/earlier.js'
import { BOX_FILES, type BoxReport, reportBoxes } from '../../report/box/report.js'
import { type BoxLimits, brokenBoxes } from '../../report/box/verdict.js'
import type { Limits } from '../../report/limits.js'
import { checkFree, makeDirectory } from '../../report/write-file.js'
import { numbered, type Repeat, repeatsOf } from '../repeats.js'
import { readBoxFile } from './file.js'
import type { BoxPlan, Variant } from './plan.js'
import { type BoxProgress, type RunContext, run } from './run.js'
import { controlServers, mainServers, type Planned, variantsFor } from './variants.js'

export type { BoxProgress } from './run.js'

/** Name of the recordings in `out`, without number and extension. */
const FILE = 'box'
/** Name of the recording of a single run in `out`. */
export const RECORDING_FILE = `${FILE}.ndjson`

/** The recordings of boxes in a folder, whatever file describes them: pictures show one box. */
const RECORDINGS = { type: 'box', file: FILE } as const satisfies Omit<Series, 'folder'>

/** Options of {@link box}. Sizes are bytes. */
export interface BoxOptions {
  /** Directory for `box.ndjson` (the recording), `box.html` and `box.svg`. Nothing is written without it. */
  out?: string
  /**
   * Replaces files of these names in `out`, and removes the recordings of more runs that an earlier box left there. If
   * false, such files are an error (`EEXIST`).
   *
   * @default true
   */
  overwrite?: boolean
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
  /**
   * How often the box runs, from 1 to 100, each time with all variants and a recording of its own (`box.1.ndjson`).
   * Then figures are medians, with their spread.
   *
   * @default 1
   */
  runs?: number
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

const NAMES = Object.keys({
  ...{ out: 0, overwrite: 0, memory: 0, limit: 0, variants: 0, control: 0, runs: 0, limits: 0, signal: 0, onEvent: 0 }
} satisfies Record<keyof BoxOptions, 0>)

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
 * If a variant fails after others have finished, the report on the others is still written to `out`.
 *
 * @param file path of the box's file, or the result of `readBoxFile()`
 * @throws BoxFileError if the file is invalid, or this machine cannot run it; RecordError if the cgroup for a limit
 *   cannot be made, a variant is unknown, or the recording cannot be written; ReportError if `out` cannot be written,
 *   or has files of an earlier box (`EEXIST`)
 */
export async function box(file: string | BoxPlan, options: BoxOptions = {}): Promise<BoxResult> {
  if (typeof file !== 'string') checkObject(file, 'file of box(), its path or what readBoxFile() has returned,')
  checkObject(options, 'options of box()')
  warnOfUnknown(options, NAMES, 'box()')
  const { result, failure } = await boxUntilFailure(file, options)
  if (failure !== undefined) throw failure.error
  return result
}

/** What {@link boxUntilFailure} found. */
export interface PartialBox {
  /** The verdicts on all variants whose main run is complete. */
  result: BoxResult
  /** Why the box ended before its last variant. */
  failure?: { error: unknown; run?: Repeat }
}

/** Returns the name of the recording of a run: `box.2.ndjson` for the second of several. */
function recordingFile(repeat: Repeat | undefined): string {
  return `${numbered(FILE, repeat)}.ndjson`
}

/**
 * Runs a box as {@link box} does. If a variant fails after others have finished, returns the verdicts on the others,
 * and the error.
 *
 * @throws as `box()`, if no variant has finished or `options.signal` is aborted
 */
export async function boxUntilFailure(file: string | BoxPlan, options: BoxOptions = {}): Promise<PartialBox> {
  const plan = typeof file === 'string' ? readBoxFile(file) : file
  const variants = variantsFor(plan, options.variants)
  checkKernel('the box cannot put load on its servers from this machine', 'ebb record and ebb report work here')
  const { out } = options
  const repeats = repeatsOf(options)
  const memory = options.memory ?? plan.memory
  const limit = options.limit ?? plan.limit
  if (out !== undefined) {
    await makeDirectory(out)
    const files = [...repeats.map(recordingFile), ...BOX_FILES]
    if (options.overwrite === false) {
      checkFree(files.map((name) => join(out, name)))
      checkFree(await recordingsOf({ ...RECORDINGS, folder: out }))
    }
  }
  // Fails before any server is started if this user may not make a cgroup.
  if (limit !== null) await new MemoryGroup(limit).remove()
  let failure: PartialBox['failure']
  const boxes: BoxRecording[] = []
  const paths: string[] = []
  for (const repeat of repeats) {
    const path = out === undefined ? undefined : join(out, recordingFile(repeat))
    const recorder = new BoxRecorder({
      name: plan.name,
      ...(path !== undefined && { out: path }),
      ...(memory !== null && { memory }),
      ...(repeat !== undefined && { run: repeat })
    })
    if (path !== undefined) paths.push(path)
    const finished: BoxRun[] = []
    try {
      if (path !== undefined && repeat === repeats[0]) await removeEarlier(RECORDINGS, path)
      await runAll({ plan, variants, limit, recorder, repeat }, finished, options)
    } catch (error) {
      const isNothing = boxes.length === 0 && !finished.some(({ role }) => role === 'main')
      if (options.signal?.aborted || isNothing) throw error
      failure = { error, ...(repeat !== undefined && { run: repeat }) }
    }
    // Leaves out the run that failed: it shows nothing that its error does not say.
    boxes.push({ ...recorder.box, runs: finished.map((run) => ({ ...run, complete: true })) })
    if (failure !== undefined) break
  }
  const report = await reportBoxes(boxes, { ...(out !== undefined && { out }) })
  const result: BoxResult = {
    ...report,
    files: [...paths, ...report.files],
    broken: brokenBoxes(report.boxes, options.limits ?? {}),
    failures: report.boxes.reduce((sum, verdict) => sum + verdict.failures, 0)
  }
  return { result, ...(failure !== undefined && { failure }) }
}

/** One run of a box: all variants, in one recording. */
interface OneRun {
  plan: BoxPlan
  variants: readonly Variant[]
  limit: number | null
  recorder: BoxRecorder
  repeat: Repeat | undefined
}

/**
 * Runs the variants, each after its control, and ends the recording. Adds each run to `finished` when it is complete.
 */
async function runAll(
  { plan, variants, limit, recorder, repeat }: OneRun,
  finished: BoxRun[],
  { signal, control, onEvent = () => {} }: BoxOptions
): Promise<void> {
  const failed = new AbortController()
  recorder.failed.catch((error) => failed.abort(error))
  const stop = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal])
  const context: RunContext = { recorder, plan, stop, onEvent, repeat }
  const runOnce = async (...args: [string, 'main' | 'control', Planned[], number | null]): Promise<void> => {
    await run(context, ...args)
    finished.push(recorder.box.runs.at(-1) as BoxRun)
  }
  let done = false
  try {
    for (const variant of variants) {
      const controls = control === false ? [] : controlServers(variant)
      if (controls.length > 0) await runOnce(variant.name, 'control', controls, null)
      await runOnce(variant.name, 'main', mainServers(variant, controls), limit)
    }
    done = true
  } finally {
    recorder.close(done ? 'done' : 'stopped')
  }
}
