/** `reportBoxes()`: judges recordings of boxes and draws them. */
import { basename, dirname, resolve } from 'node:path'
import { readBox } from '../../record/box/read.js'
import type { BoxHeader, BoxRecording } from '../../record/box/recording.js'
import { ReportError } from '../../units/errors.js'
import { renderSvg } from '../charts/svg.js'
import { writeReport } from '../write-file.js'
import { boxChart } from './charts.js'
import { renderBoxHtml } from './html.js'
import type { JudgedBox } from './judged-box.js'
import { medianBox, mergeBoxes } from './runs.js'
import { type BoxVerdict, judgeBox } from './verdict.js'

/** Options of {@link reportBoxes}. */
export interface BoxReportOptions {
  /** Folder for `box.html` and `box.svg`, made if it does not exist. Default: nothing is written. */
  out?: string
  /**
   * Replaces files in `out` that show other recordings. If false, they are an error (`EEXIST`).
   *
   * @default true
   */
  overwrite?: boolean
  /** Memory for the question how many such servers fit into it, bytes. Default: what each recording asks. */
  memory?: number
}

/** What {@link reportBoxes} found. */
export interface BoxReport {
  /** One verdict for each variant, in the order of the recordings. */
  boxes: BoxVerdict[]
  /** Paths of the files that were written. */
  files: string[]
  /** Notes of the recordings, one sentence each. */
  notes: string[]
}

/**
 * Judges recordings of boxes (paths, or in memory) and draws them side by side. The runs of one box have one verdict
 * for each variant, with medians and spread.
 *
 * @throws ReportError: `ERR_REPORT_EMPTY` if there is nothing to judge, `EEXIST` if `out` has files that show other
 *   recordings, or the errno if `out` cannot be written
 * @throws RecordError if a recording cannot be read
 */
export async function reportBoxes(
  recordings: readonly (string | BoxRecording)[],
  options: BoxReportOptions = {}
): Promise<BoxReport> {
  const boxes = await judgeBoxes(recordings, options)
  const files = await write(boxes, options)
  return { boxes: boxes.judged.map(({ verdict }) => verdict), files, notes: boxes.notes }
}

/** What {@link judgeBoxes} found. */
export interface JudgedBoxes {
  judged: JudgedBox[]
  /** Headers of the recordings; there is at least one. */
  headers: [BoxHeader, ...BoxHeader[]]
  /** Notes of the recordings, one sentence each. */
  notes: string[]
}

/**
 * Judges recordings of boxes as {@link reportBoxes} does, and draws nothing.
 *
 * @throws as `reportBoxes()`
 */
export async function judgeBoxes(
  recordings: readonly (string | BoxRecording)[],
  options: Pick<BoxReportOptions, 'memory'> = {}
): Promise<JudgedBoxes> {
  const notes: string[] = []
  const judged: JudgedBox[] = []
  const read = await Promise.all(recordings.map((given) => (typeof given === 'string' ? readBox(given) : given)))
  const groups = groupsOf(read.map((box, i) => ({ box, given: recordings[i] as string | BoxRecording })))
  const names = groups.flatMap((group) => variantsOf(group))
  for (const group of groups) {
    const [{ given }] = group
    for (const name of variantsOf(group)) {
      const one = judgeVariant(group, name, options.memory)
      // Variants of two files may have the same name.
      if (typeof given === 'string' && names.filter((other) => other === name).length > 1) {
        one.verdict.name = `${name} (${basename(dirname(resolve(given)))}/${basename(given)})`
      }
      judged.push(one)
    }
    notes.push(...group.flatMap(({ box }) => box.notes.map((note) => `${box.header.name}: ${note}`)))
  }
  const [first, ...others] = read.map(({ header }) => header)
  if (first === undefined || judged.length === 0) {
    throw new ReportError('there is nothing to report on: no run of a box is recorded here', 'ERR_REPORT_EMPTY')
  }
  return { judged, headers: [first, ...others], notes }
}

/** A recording, and what was given for it. */
interface Source {
  box: BoxRecording
  given: string | BoxRecording
}

/** Returns the recordings in groups: the runs of one box, in their order. */
function groupsOf(sources: readonly Source[]): [Source, ...Source[]][] {
  const groups = new Map<string, [Source, ...Source[]]>()
  for (const [index, source] of sources.entries()) {
    const { name, run } = source.box.header
    const folder = typeof source.given === 'string' ? dirname(resolve(source.given)) : null
    const key = JSON.stringify(run === undefined ? [index] : [name, folder, run.of])
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [source])
    else group.push(source)
  }
  const indexOf = ({ box }: Source): number => box.header.run?.index ?? 0
  return [...groups.values()].map((group) => group.sort((a, b) => indexOf(a) - indexOf(b)))
}

/** Returns the names of the variants that the runs of a box have. */
function variantsOf(group: readonly Source[]): string[] {
  const mains = group.flatMap(({ box }) => box.runs.filter(({ role }) => role === 'main'))
  return [...new Set(mains.map(({ variant }) => variant))]
}

/** Judges a variant over all runs of a box. */
function judgeVariant(group: readonly Source[], variant: string, memory: number | undefined): JudgedBox {
  const singles = group.flatMap(({ box }) => {
    const runs = box.runs.filter(({ role }) => role === 'main')
    const verdicts = judgeBox(box, memory ?? box.header.memory)
    return verdicts.flatMap((verdict, i) =>
      verdict.name === variant ? [{ run: runs[i] as JudgedBox['run'], verdict }] : []
    )
  })
  const verdicts = singles.map(({ verdict }) => verdict) as [BoxVerdict, ...BoxVerdict[]]
  return { run: (singles[medianBox(verdicts)] as JudgedBox).run, verdict: mergeBoxes(verdicts) }
}

async function write({ judged, headers, notes }: JudgedBoxes, { out, overwrite }: BoxReportOptions): Promise<string[]> {
  if (out === undefined) return []
  const contents: [name: string, text: string][] = [
    ['box.html', await renderBoxHtml(judged, headers[0], notes)],
    ['box.svg', renderSvg(boxChart(judged))]
  ]
  const recordings = headers.map(({ name, startedAt }) => JSON.stringify([name, startedAt]))
  return await writeReport(out, { contents, recordings, overwrite })
}

/** Names of the files that {@link reportBoxes} writes. */
export const BOX_FILES = ['box.html', 'box.svg'] as const
