/** `ebb report` */
import { Command } from 'commander'
import { isBox } from '../../record/box/read.js'
import { reportBoxes } from '../../report/box/report.js'
import { brokenBoxes } from '../../report/box/verdict.js'
import { broken } from '../../report/limits.js'
import { report } from '../../report/report.js'
import { type LimitFlags, limitOptions, limitsOf } from '../options/limits.js'
import { arg } from '../options/plan.js'
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

export function reportCommand(): Command {
  const command = new Command('report')
    .description('judge recordings again, and draw them: report.html and pictures')
    .argument(
      '<file...>',
      'recordings of ebb record and ebb bench (a control belongs to the main run of its name), or of ebb box'
    )
    .option('--out <dir>', 'where to write the pictures (default: the current directory)')
    .option('--memory <size>', 'of a box: how many such servers would fit into it', arg(parseSize))
    .option('--max-peak <size>', 'of a box: end with 3 when all hold more at one moment', arg(parseSize))
    .option('--json', 'print the verdicts as JSON')
    .option('--markdown', 'print the table in Markdown')
  return limitOptions(command).action(run)
}

async function run(files: string[], flags: Flags): Promise<void> {
  const boxes = await Promise.all(files.map(isBox))
  if (boxes.includes(true)) {
    if (boxes.includes(false))
      throw new ValueError('recordings of boxes and of servers are reported apart from each other')
    await runBoxes(files, flags)
    return
  }
  if (flags.memory !== undefined || flags.maxPeak !== undefined) {
    throw new ValueError('--memory and --max-peak are for recordings of ebb box')
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
