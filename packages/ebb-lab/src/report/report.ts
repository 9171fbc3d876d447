/** `report()`: judges recordings and draws them. */
import { realpath } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { checkObject, invalidArgument, shown, warnOfUnknown } from 'ebb/sys'
import { readRecording } from '../record/read.js'
import { FORMAT, type Recording } from '../record/recording.js'
import { ReportError } from '../units/errors.js'
import { integer } from '../units/format.js'
import { memoryChart } from './charts/memory-chart.js'
import { runtimeChart } from './charts/runtime-chart.js'
import { renderSvg } from './charts/svg.js'
import { type Comparison, compare, type Runs } from './compare/compare.js'
import { renderHtml } from './page/html.js'
import { noiseNotes } from './rows.js'
import type { Run } from './run.js'
import { medianRun, mergeRuns } from './runs.js'
import { judge, type Verdict } from './verdict.js'
import { writeReport } from './write-file.js'

/** Options of {@link report}. */
export interface ReportOptions {
  /** Folder for `report.html`, `memory.svg` and `runtime.svg`; created if needed. Default: nothing is written. */
  out?: string
  /**
   * Replaces files in `out` that show other recordings. If false, they are an error (`EEXIST`).
   *
   * @default true
   */
  overwrite?: boolean
  /**
   * Takes main recordings with the same name for runs on one server, wherever they are. Otherwise, only recordings of
   * one experiment with several `runs` are.
   *
   * @default false
   */
  sameNameIsRun?: boolean
  /**
   * Earlier recordings (paths, or in memory) with which the servers are compared. Main recordings with the same name on
   * one side are runs on one server then, as with `sameNameIsRun`.
   */
  against?: readonly (string | Recording)[]
  /**
   * Smallest relative difference that matters in a comparison.
   *
   * @default 0.05
   */
  threshold?: number
}

const NAMES = Object.keys({
  ...{ out: 0, overwrite: 0, sameNameIsRun: 0, against: 0, threshold: 0 }
} satisfies Record<keyof ReportOptions, 0>)

/** What {@link report} found. */
export interface Report {
  /** One verdict for each main recording, in the order given. Several runs on one server have one verdict. */
  verdicts: Verdict[]
  /** One comparison for each server that the recordings of `against` have as well. Empty without `against`. */
  comparisons: Comparison[]
  /** Paths of the files that were written. */
  files: string[]
  /** What was left out or does not compare, one sentence each. */
  notes: string[]
}

/**
 * Judges recordings (paths, or in memory) and draws them. A control belongs to the main recording of the same name. If
 * several have that name, it belongs to the one in the same folder. If two main recordings have the same name, their
 * folder or file is added to it, unless they are runs on one server: those have one verdict, with medians and spread. A
 * file given twice is read once. A control without a main recording is left out, with a note.
 *
 * ```ts
 * const { verdicts } = await report(['results/ebb.ndjson', 'results/ebb.control.ndjson'], { out: 'results' })
 * ```
 *
 * Writes nothing unless everything could be drawn.
 *
 * @throws ReportError: `ERR_REPORT_EMPTY` if there is nothing to judge, `ERR_REPORT_AMBIGUOUS` if two controls belong
 *   to one recording, `ERR_RECORDING_FORMAT`, `EEXIST` if `out` has files that show other recordings, or the errno if
 *   `out` cannot be written
 * @throws RecordError if a recording cannot be read
 */
export async function report(
  recordings: readonly (string | Recording)[],
  options: ReportOptions = {}
): Promise<Report> {
  checkRecordings(recordings, 'recordings of report()')
  checkObject(options, 'options of report()')
  warnOfUnknown(options, NAMES, 'report()')
  if (options.against !== undefined) checkRecordings(options.against, 'against of report()')
  const { out, overwrite } = options
  const judged = await judgeRecordings(recordings, options)
  const { runs, comparisons, notes } = judged
  const files = out === undefined ? [] : await write(judged, out, overwrite)
  return { verdicts: runs.map((run) => run.verdict), comparisons, files, notes }
}

function checkRecordings(recordings: unknown, what: string): void {
  if (!Array.isArray(recordings))
    throw invalidArgument(`${what} must be a list of recordings, not ${shown(recordings)}`)
}

/** What {@link judgeRecordings} found. */
export interface JudgedRuns {
  runs: Run[]
  /** Comparisons with the recordings of `against`. */
  comparisons: Comparison[]
  /** What was left out or does not compare, one sentence each. */
  notes: string[]
}

/**
 * Judges recordings as {@link report} does, and draws nothing.
 *
 * @throws as `report()`
 */
export async function judgeRecordings(
  recordings: readonly (string | Recording)[],
  options: Pick<ReportOptions, 'sameNameIsRun' | 'against' | 'threshold'> = {}
): Promise<JudgedRuns> {
  const notes: string[] = []
  const { against, threshold } = options
  const sources = await readSources(recordings, notes)
  const runs = pairWithControls(sources, notes, options.sameNameIsRun === true || against !== undefined)
  const earlier = against === undefined ? [] : pairWithControls(await readSources(against, notes), notes, true)
  const comparisons = against === undefined ? [] : compareAll(runs, earlier, threshold, notes)
  notes.push(...otherMachineNotes([...runs, ...earlier]), ...noiseNotes(runs.map(({ verdict }) => verdict)))
  return { runs, comparisons, notes }
}

/** Compares each server with the earlier one of its name, or if there is one on each side, with that. */
function compareAll(
  runs: readonly Judged[],
  earlier: readonly Judged[],
  threshold: number | undefined,
  notes: string[]
): Comparison[] {
  const sideOf = ({ verdict, singles }: Judged): Runs => ({ name: verdict.name, verdicts: singles })
  const isPair = runs.length === 1 && earlier.length === 1
  const matched = new Set<Judged>()
  const comparisons = runs.flatMap((run) => {
    const before = isPair ? earlier[0] : earlier.find(({ verdict }) => verdict.name === run.verdict.name)
    if (before === undefined) {
      notes.push(`${run.verdict.name} is not among the earlier recordings, so it is compared with nothing.`)
      return []
    }
    matched.add(before)
    notes.push(...otherLoadNotes(run.verdict, before.verdict))
    return [compare(sideOf(run), sideOf(before), threshold)]
  })
  for (const one of earlier) {
    if (!matched.has(one)) notes.push(`${one.verdict.name} is only among the earlier recordings, and is left out.`)
  }
  return comparisons
}

/** Returns a note if two sides of a comparison had other loads or other clients. */
function otherLoadNotes(now: Verdict, before: Verdict): string[] {
  const loadOf = ({ big, iterations, small, protocol }: Verdict): string =>
    `${integer(big)} connections ${integer(iterations)} times, then ${integer(small)} (${protocol ?? 'tcp'})`
  const [present, earlier] = [loadOf(now), loadOf(before)]
  if (present === earlier) return []
  return [`${now.name} had another load before: ${earlier}; now ${present}. Compare the figures with care.`]
}

/** A recording that was given, and where it came from. */
interface Source {
  recording: Recording
  /** Absolute path; null for a recording in memory. */
  path: string | null
}

/** Reads the recordings. A recording that is given twice is read once, with a note. */
async function readSources(recordings: readonly (string | Recording)[], notes: string[]): Promise<Source[]> {
  const sources: Source[] = []
  const seen = new Set<string | Recording>()
  for (const given of recordings) {
    // If a path does not resolve, the reader reports best what is wrong with it.
    const path = typeof given === 'string' ? await realpath(given).catch(() => resolve(given)) : null
    if (seen.has(path ?? given)) {
      notes.push(`${path ?? (given as Recording).header.name} was given twice and is shown once.`)
      continue
    }
    seen.add(path ?? given)
    const recording = typeof given === 'string' ? await readRecording(given) : given
    // A recording in memory may come from another version of this package, whatever its type says.
    const format: number = recording.header.format
    if (format !== FORMAT) {
      throw new ReportError(
        `the recording ${path ?? recording.header.name} has format ${format}, this version reads format ${FORMAT}`,
        'ERR_RECORDING_FORMAT'
      )
    }
    sources.push({ recording, path })
  }
  return sources
}

/** A server of a report, with the verdicts on its runs. */
interface Judged extends Run {
  singles: Verdict[]
}

/** Judges each main recording with its control. Adds a note for each control without a main recording. */
function pairWithControls(sources: readonly Source[], notes: string[], sameNameIsRun: boolean): Judged[] {
  const mains = sources.filter(({ recording }) => recording.header.role === 'main')
  const controls = sources.filter(({ recording }) => recording.header.role === 'control')
  if (mains.length === 0) {
    throw new ReportError(
      controls.length === 0
        ? 'there is no recording to report on'
        : `there are only controls (${labelsOf(controls)}): a report needs the main recording of a server`,
      'ERR_REPORT_EMPTY'
    )
  }
  const used = new Set<Source>()
  const groups = groupsOf(mains, sameNameIsRun)
  const names = distinctNames(groups.map(([lead]) => lead))
  const runs = groups.map((group, index): Judged => {
    const singles = group.map((main): Run => {
      const control = controlOf(main, mains, controls)
      if (control) used.add(control)
      const verdict = judge(main.recording, control?.recording)
      return { recording: main.recording, control: control?.recording ?? null, verdict }
    })
    const whole = singles.some(({ control }) => control !== null) ? singles.filter(isWhole) : singles
    const left = singles.length - whole.length
    if (left > 0) notes.push(interruptedNote(names[index] ?? '', left))
    const verdicts = whole.map(({ verdict }) => verdict) as [Verdict, ...Verdict[]]
    const shown = medianRun(verdicts)
    const verdict = { ...mergeRuns(verdicts), name: names[index] ?? '' }
    return {
      ...(whole[shown] as Run),
      verdict,
      singles: verdicts,
      ...(verdict.runs !== undefined && { shown: shown + 1 })
    }
  })
  for (const control of controls) {
    if (!used.has(control)) notes.push(`The control ${labelOf(control)} has no main recording and is left out.`)
  }
  return runs
}

/** Whether a run of several has its control, or has none because its server has ended. */
function isWhole({ control, verdict }: Run): boolean {
  return control !== null || verdict.notes.some(({ code }) => code === 'server-ended')
}

function interruptedNote(name: string, count: number): string {
  return count === 1
    ? `One run on ${name} is left out: it has no control, because it was interrupted.`
    : `${count} runs on ${name} are left out: they have no control, because they were interrupted.`
}

/** Returns the main recordings in groups: the runs on one server, in their order. */
function groupsOf(mains: readonly Source[], sameNameIsRun: boolean): [Source, ...Source[]][] {
  const groups = new Map<string, [Source, ...Source[]]>()
  for (const [index, main] of mains.entries()) {
    const { name, run } = main.recording.header
    const key = sameNameIsRun ? [name] : run === undefined ? [name, index] : [name, folderOf(main), run.of, 'runs']
    const group = groups.get(JSON.stringify(key))
    if (group === undefined) groups.set(JSON.stringify(key), [main])
    else group.push(main)
  }
  const indexOf = ({ recording }: Source): number => recording.header.run?.index ?? 0
  return [...groups.values()].map((group) => group.sort((a, b) => indexOf(a) - indexOf(b)))
}

/**
 * Returns the control of a main recording: the control with its name in the same folder, else in another folder if no
 * other main recording has the name. If a folder has several of a name, the name of its file decides.
 *
 * @throws ReportError (`ERR_REPORT_AMBIGUOUS`) if several controls match
 */
function controlOf(main: Source, mains: readonly Source[], controls: readonly Source[]): Source | undefined {
  const isLike = ({ recording: { header } }: Source): boolean => {
    const { name, run } = main.recording.header
    return header.name === name && header.run?.index === run?.index && header.run?.of === run?.of
  }
  const { name } = main.recording.header
  const sameName = controls.filter(isLike)
  const inSameFolder = sameName.filter((control) => folderOf(control) === folderOf(main))
  const ofItsFile = inSameFolder.filter(({ path }) => path !== null && path === controlPathOf(main))
  const isOnly = mains.filter(isLike).length === 1
  const candidates = [ofItsFile, inSameFolder].find(({ length }) => length > 0) ?? (isOnly ? sameName : [])
  if (candidates.length > 1) {
    throw new ReportError(
      `there are ${candidates.length} controls for ${name} (${labelsOf(candidates)}): give the one that belongs to it`,
      'ERR_REPORT_AMBIGUOUS'
    )
  }
  return candidates[0]
}

/** Returns the path that `ebb bench` gives the control of a recording: `net.control.ndjson` beside `net.ndjson`. */
function controlPathOf({ path }: Source): string | undefined {
  return path?.replace(/(\.ndjson)?$/, '.control$1')
}

/** Returns the names of the servers. Equal names get the folder, the file or a number that tells them apart. */
function distinctNames(mains: readonly Source[]): string[] {
  const names = mains.map(({ recording }) => recording.header.name)
  const additions: ((source: Source, index: number) => string)[] = [
    ({ path }) => (path === null ? '' : basename(dirname(path))),
    ({ path }) => (path === null ? '' : basename(path)),
    (_, index) => String(index + 1)
  ]
  return names.map((name, index) => {
    const alike = mains.flatMap((source, other) => (names[other] === name ? [{ source, other }] : []))
    if (alike.length === 1) return name
    for (const addition of additions) {
      const texts = alike.map(({ source, other }) => addition(source, other))
      if (new Set(texts).size === alike.length && !texts.includes('')) {
        return `${name} (${addition(mains[index] as Source, index)})`
      }
    }
    return name
  })
}

/** Returns a note if recordings come from different machines or kernels. */
function otherMachineNotes(runs: readonly Run[]): string[] {
  const kinds = new Set(
    runs
      .flatMap((run) => [run.recording, run.control ?? run.recording])
      .map(({ header: { kernel, machine } }) => `${kernel} ${machine.cpus} ${machine.memory} ${machine.arch}`)
  )
  return kinds.size > 1 ? ['The recordings come from different machines or kernels: compare them with care.'] : []
}

/** With more servers than this, the memory chart has three columns, so that it is not longer than a page. */
const MANY = 8

/** Draws the page and the pictures and writes them into a folder. Returns their paths. */
async function write(
  { runs, comparisons, notes }: JudgedRuns,
  out: string,
  overwrite: boolean | undefined
): Promise<string[]> {
  const contents: [name: string, text: string][] = [
    ['report.html', await renderHtml(runs, notes, comparisons)],
    ['memory.svg', renderSvg(memoryChart(runs, { columns: runs.length > MANY ? 3 : 2 }))],
    ['runtime.svg', renderSvg(runtimeChart(runs))]
  ]
  const shown = runs.flatMap(({ recording, control }) => (control === null ? [recording] : [recording, control]))
  return await writeReport(out, { contents, recordings: shown.map(identityOf), overwrite })
}

/** Returns what tells a recording apart from all others. */
function identityOf({ header: { name, role, pid, startedAt } }: Recording): string {
  return JSON.stringify([name, role, pid, startedAt])
}

/** Names of the files that {@link report} writes. */
export const REPORT_FILES = ['report.html', 'memory.svg', 'runtime.svg'] as const

function folderOf({ path }: Source): string | null {
  return path === null ? null : dirname(path)
}

/** Returns how messages name a recording: its path, or its name if it has no path. */
function labelOf({ recording, path }: Source): string {
  return path ?? recording.header.name
}

function labelsOf(sources: readonly Source[]): string {
  return sources.map(labelOf).join(', ')
}
