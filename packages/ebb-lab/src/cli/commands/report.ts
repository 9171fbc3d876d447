/** `ebb report`: judges and draws recordings again. */
import { Command } from 'commander'
import { isBox } from '../../record/box/read.js'
import { reportBoxes } from '../../report/box/report.js'
import { brokenBoxes } from '../../report/box/verdict.js'
import { broken } from '../../report/limits.js'
import { report } from '../../report/report.js'
import { type LimitFlags, limitOptions, limitsOf } from '../options/limits.js'
import { checkForm } from '../options/together.js'
import { parseSize, ValueError } from '../options/values.js'
import { printBoxes } from '../output/box-result.js'
import { printResult } from '../output/result.js'
import { Terminal } from '../output/terminal.js'

interface Flags extends LimitFlags {
  out?: string
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
      'recordings of "ebb record", "ebb bench" or "ebb box"; a control run belongs to the main run with the same name'
    )
    .option('--out <dir>', 'directory for the pictures (default: the current directory)')
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

async function run(files: string[], flags: Flags): Promise<void> {
  checkForm(flags)
  const boxes = await Promise.all(files.map(isBox))
  if (boxes.includes(true)) {
    if (boxes.includes(false))
      throw new ValueError('recordings of boxes and of servers are reported apart: run ebb report once for each kind')
    await runBoxes(files, flags)
    return
  }
  if (flags.memory !== undefined || flags.maxPeak !== undefined) {
    throw new ValueError('--memory and --max-peak are for recordings of ebb box: leave them out')
  }
  const { verdicts, files: written, notes } = await report(files, { out: flags.out ?? '.' })
  const exceeded = verdicts.flatMap((verdict) => broken(verdict, limitsOf(flags)))
  printResult({ verdicts, broken: exceeded, files: written, notes }, flags, new Terminal())
}

async function runBoxes(files: string[], flags: Flags): Promise<void> {
  const { memory, maxPeak } = flags
  const result = await reportBoxes(files, { out: flags.out ?? '.', ...(memory !== undefined && { memory }) })
  const limits = { ...limitsOf(flags), ...(maxPeak !== undefined && { maxPeak }) }
  printBoxes({ ...result, broken: brokenBoxes(result.boxes, limits) }, flags, new Terminal())
}
