/** `ebb report` */
import { Command } from 'commander'
import { report } from '../report/report.js'
import { broken } from '../report/verdict.js'
import { type LimitFlags, limitOptions, limitsOf } from './limit-options.js'
import { printResult } from './result.js'
import { Terminal } from './terminal.js'

interface Flags extends LimitFlags {
  out?: string
  json?: boolean
  markdown?: boolean
}

export function reportCommand(): Command {
  const command = new Command('report')
    .description('judge recordings again, and draw them: report.html, memory.svg, runtime.svg')
    .argument('<file...>', 'recordings of ebb record and ebb bench; a control belongs to the main run of its name')
    .option('--out <dir>', 'where to write the pictures (default: the current directory)')
    .option('--json', 'print the verdicts as JSON')
    .option('--markdown', 'print the table in Markdown')
  return limitOptions(command).action(run)
}

async function run(files: string[], flags: Flags): Promise<void> {
  const { verdicts, files: written, notes } = await report(files, { out: flags.out ?? '.' })
  const exceeded = verdicts.flatMap((verdict) => broken(verdict, limitsOf(flags)))
  printResult({ verdicts, broken: exceeded, files: written, notes }, flags, new Terminal())
}
