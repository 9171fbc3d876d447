/** `ebb report`: judges and draws recordings again. */
import { Command } from 'commander'
import { LIVE_PORT, type LiveAddress } from '../../live/address.js'
import { boxesView, serversView } from '../../live/report-view.js'
import { serveLive } from '../../live/server.js'
import { isBox } from '../../record/box/read.js'
import { expandFolders } from '../../record/folder.js'
import { type BoxReport, type JudgedBoxes, judgeBoxes, reportBoxes } from '../../report/box/report.js'
import { brokenBoxes } from '../../report/box/verdict.js'
import { worseOf } from '../../report/compare/words.js'
import { broken } from '../../report/limits.js'
import { type JudgedRuns, judgeRecordings, type Report, report } from '../../report/report.js'
import { summary } from '../../report/summary.js'
import { defined } from '../../units/defined.js'
import { codeOf, messageOf } from '../../units/errors.js'
import { againstOf, type ComparisonFlags, checkRuns, comparisonOptions } from '../options/comparison.js'
import { type LimitFlags, limitOptions, limitsOf } from '../options/limits.js'
import { parseLiveAddress } from '../options/live.js'
import { addSummary, type SummaryFlags, summaryOption } from '../options/summary.js'
import { checkForm } from '../options/together.js'
import { parseSize, ValueError } from '../options/values.js'
import { untilAborted } from '../output/live-page.js'
import { printReports } from '../output/reports.js'
import { interruption, Terminal } from '../output/terminal.js'

interface Flags extends LimitFlags, ComparisonFlags, SummaryFlags {
  out?: string
  overwrite?: boolean
  memory?: number
  maxPeak?: number
  json?: boolean
  markdown?: boolean
  serve?: LiveAddress
}

/** Returns the command `ebb report`. */
export function reportCommand(): Command {
  const command = new Command('report')
    .description('Print verdicts from recordings, and draw report.html and pictures.')
    .argument(
      '<file...>',
      'recordings of "ebb record", "ebb bench" or "ebb box", or a folder of them; the recording of a control run ' +
        'belongs to the recording with the same name'
    )
    .option('--out <dir>', 'directory for the pictures (default: the current directory)')
    .option('--overwrite', 'replace pictures of other recordings, too')
    .option('--memory <size>', 'for a box recording: print how many such servers fit into this much memory', parseSize)
    .option(
      '--max-peak <size>',
      'for a box recording: exit 3 if all servers together use more than this at any moment',
      parseSize
    )
  comparisonOptions(limitOptions(command))
    .optionsGroup('Output:')
    .option('--json', 'print the verdicts as JSON')
    .option('--markdown', 'print the table as Markdown')
    .option(
      '--serve [address]',
      `serve the recordings as a page at [HOST]:PORT until Ctrl-C (default: 127.0.0.1:${LIVE_PORT}); draws pictures only with --out`,
      parseLiveAddress
    )
  return summaryOption(command).addHelpText('after', HELP).action(run)
}

const HELP = `
In a comparison, recordings with the same name are runs on one server. Example:
  ebb bench --runs 5 --out before -- node server.js {port}
  ebb bench --runs 5 --out after -- node server.js {port}
  ebb report after --against before --fail-on retention,peak

Exit codes: 3 if a limit was exceeded, or a figure of --fail-on is worse.`

/** Finds the recordings in the given paths, those of boxes apart from those of servers. */
async function sort(paths: readonly string[]): Promise<{ boxFiles: string[]; serverFiles: string[] }> {
  const files = await expandFolders(paths)
  const areBoxes = await Promise.all(files.map(isBox))
  return { boxFiles: files.filter((_, i) => areBoxes[i]), serverFiles: files.filter((_, i) => !areBoxes[i]) }
}

async function run(paths: string[], flags: Flags): Promise<void> {
  checkForm(flags)
  const { boxFiles, serverFiles } = await sort(paths)
  const comparing = await againstOf(flags, serverFiles.length, sort)
  const { memory, maxPeak } = flags
  if (boxFiles.length === 0 && (memory !== undefined || maxPeak !== undefined)) {
    throw new ValueError('--memory and --max-peak are for recordings of ebb box: leave them out')
  }
  const to = { out: flags.out ?? '.', overwrite: flags.overwrite === true }
  const limits = { ...limitsOf(flags), ...(maxPeak !== undefined && { maxPeak }) }
  const sized = memory === undefined ? {} : { memory }
  const terminal = new Terminal()
  if (flags.serve !== undefined && boxFiles.length > 0 && serverFiles.length > 0) {
    throw new ValueError('--serve shows recordings of servers or of boxes: give one kind at a time')
  }
  // Each recording is read once, unless there are pictures to write.
  const judged = {
    ...(flags.serve !== undefined && serverFiles.length > 0 && { runs: await judgeRecordings(serverFiles, comparing) }),
    ...(flags.serve !== undefined && boxFiles.length > 0 && { boxes: await judgeBoxes(boxFiles, sized) })
  }
  const servers =
    serverFiles.length === 0
      ? undefined
      : judged.runs !== undefined && flags.out === undefined
        ? verdictsOf(judged.runs)
        : await drawn(flags, to, (where) => report(serverFiles, { ...where, ...comparing }))
  const boxes =
    boxFiles.length === 0
      ? undefined
      : judged.boxes !== undefined && flags.out === undefined
        ? boxVerdictsOf(judged.boxes)
        : await drawn(flags, to, (where) => reportBoxes(boxFiles, { ...where, ...sized }))
  const { failOn = [] } = flags
  const results = {
    ...(servers && {
      servers: {
        ...servers,
        broken: [
          ...servers.verdicts.flatMap((verdict) => broken(verdict, limitsOf(flags))),
          ...servers.comparisons.flatMap((comparison) => worseOf(comparison, failOn))
        ]
      }
    }),
    ...(boxes && { boxes: { ...boxes, broken: brokenBoxes(boxes.boxes, limits) } })
  }
  printReports(results, flags, terminal)
  if (flags.summary !== undefined) {
    const both = <K extends 'broken' | 'notes'>(key: K): string[] => [
      ...(results.servers?.[key] ?? []),
      ...(results.boxes?.[key] ?? [])
    ]
    const { verdicts, comparisons } = servers ?? {}
    const parts = {
      ...defined({ verdicts, comparisons, boxes: boxes?.boxes }),
      broken: both('broken'),
      notes: both('notes')
    }
    await addSummary(flags.summary, summary(parts))
  }
  checkRuns(servers?.comparisons ?? [], flags)
  const view = judged.runs !== undefined ? serversView(judged.runs) : judged.boxes && boxesView(judged.boxes)
  if (flags.serve === undefined || view === undefined) return
  const { signal } = interruption()
  const page = await serveLive(flags.serve, () => view)
  await untilAborted(page, signal, terminal)
  await page.end()
}

/** Returns what `report()` returns if it draws nothing. */
function verdictsOf({ runs, comparisons, notes }: JudgedRuns): Report {
  return { verdicts: runs.map(({ verdict }) => verdict), comparisons, files: [], notes }
}

/** Returns what `reportBoxes()` returns if it draws nothing. */
function boxVerdictsOf({ judged, notes }: JudgedBoxes): BoxReport {
  return { boxes: judged.map(({ verdict }) => verdict), files: [], notes }
}

/**
 * Makes a report with its pictures. Nobody has asked for pictures in the current directory by name, so if it has some
 * of other recordings, returns the report without pictures and with a note.
 */
async function drawn<R extends { notes: string[] }>(
  { out }: Flags,
  to: { out: string },
  make: (where: { out?: string }) => Promise<R>
): Promise<R> {
  try {
    return await make(to)
  } catch (error) {
    if (out !== undefined || codeOf(error) !== 'EEXIST') throw error
    const result = await make({})
    result.notes.push(`No picture was drawn: ${messageOf(error)}`)
    return result
  }
}
