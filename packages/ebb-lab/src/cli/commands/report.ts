/** `ebb report`: judges and draws recordings again. */
import { Command } from 'commander'
import { isBox } from '../../record/box/read.js'
import { expandFolders } from '../../record/folder.js'
import { reportBoxes } from '../../report/box/report.js'
import { brokenBoxes } from '../../report/box/verdict.js'
import { broken } from '../../report/limits.js'
import { report } from '../../report/report.js'
import { codeOf, messageOf } from '../../units/errors.js'
import { type LimitFlags, limitOptions, limitsOf } from '../options/limits.js'
import { checkForm } from '../options/together.js'
import { parseSize, ValueError } from '../options/values.js'
import { printReports } from '../output/reports.js'
import { Terminal } from '../output/terminal.js'

interface Flags extends LimitFlags {
  out?: string
  overwrite?: boolean
  memory?: number
  maxPeak?: number
  json?: boolean
  markdown?: boolean
}

/** Returns the command `ebb report`. */
export function reportCommand(): Command {
  const command = new Command('report')
    .description('Print verdicts from recordings, and draw report.html and pictures.')
    .argument(
      '<file...>',
      'recordings of "ebb record", "ebb bench" or "ebb box", or a folder of them; a control belongs to the recording ' +
        'with the same name'
    )
    .option('--out <dir>', 'directory for the pictures (default: the current directory)')
    .option('--overwrite', 'replace pictures in it that show other recordings')
    .option('--memory <size>', 'for a box recording: print how many such servers fit into this much memory', parseSize)
    .option(
      '--max-peak <size>',
      'for a box recording: exit 3 if all servers together use more than this at any moment',
      parseSize
    )
    .option('--json', 'print the verdicts as JSON')
    .option('--markdown', 'print the table as Markdown')
  return limitOptions(command).action(run)
}

async function run(paths: string[], flags: Flags): Promise<void> {
  checkForm(flags)
  const files = await expandFolders(paths)
  const areBoxes = await Promise.all(files.map(isBox))
  const boxFiles = files.filter((_, i) => areBoxes[i])
  const serverFiles = files.filter((_, i) => !areBoxes[i])
  const { memory, maxPeak } = flags
  if (boxFiles.length === 0 && (memory !== undefined || maxPeak !== undefined)) {
    throw new ValueError('--memory and --max-peak are for recordings of ebb box: leave them out')
  }
  const to = { out: flags.out ?? '.', overwrite: flags.overwrite === true }
  const limits = { ...limitsOf(flags), ...(maxPeak !== undefined && { maxPeak }) }
  const sized = memory === undefined ? {} : { memory }
  const servers = serverFiles.length === 0 ? undefined : await drawn(flags, to, (where) => report(serverFiles, where))
  const boxes =
    boxFiles.length === 0 ? undefined : await drawn(flags, to, (where) => reportBoxes(boxFiles, { ...where, ...sized }))
  printReports(
    {
      ...(servers && {
        servers: { ...servers, broken: servers.verdicts.flatMap((verdict) => broken(verdict, limitsOf(flags))) }
      }),
      ...(boxes && { boxes: { ...boxes, broken: brokenBoxes(boxes.boxes, limits) } })
    },
    flags,
    new Terminal()
  )
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
