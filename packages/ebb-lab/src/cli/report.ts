/** `ebb report` */
import { Command } from 'commander'
import { report } from '../report/report.js'
import { table } from '../report/table.js'
import { broken, verdictToJson } from '../report/verdict.js'
import { EXIT } from './failure.js'
import { type LimitFlags, limitOptions, limitsOf } from './limit-options.js'
import { colours, columns, Terminal } from './terminal.js'

interface Flags extends LimitFlags {
  out?: string
  json?: boolean
}

export function reportCommand(): Command {
  const command = new Command('report')
    .description('judge recordings again, and draw them: report.html, memory.svg, runtime.svg')
    .argument('<file...>', 'recordings of ebb record and ebb bench; a control belongs to the main run of its name')
    .option('--out <dir>', 'where to write the pictures (default: the current directory)')
    .option('--json', 'print the verdicts as JSON')
  return limitOptions(command).action(run)
}

async function run(files: string[], flags: Flags): Promise<void> {
  const { verdicts, files: written, notes } = await report(files, { out: flags.out ?? '.' })
  const exceeded = verdicts.flatMap((verdict) =>
    broken(verdict, limitsOf(flags)).map((sentence) => `${verdict.name}: ${sentence}`)
  )
  if (flags.json) {
    const result = { verdicts: verdicts.map(verdictToJson), broken: exceeded, files: written, notes }
    process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
  } else {
    process.stdout.write(`${table(verdicts, { width: columns(process.stdout), colour: colours(process.stdout) })}\n`)
    process.stdout.write(`\nWritten: ${written.join(', ')}\n`)
  }
  const terminal = new Terminal()
  for (const note of notes) terminal.line(`note: ${note}`)
  for (const sentence of exceeded) terminal.line(`limit broken: ${sentence}`)
  if (exceeded.length > 0) process.exitCode = EXIT.broken
}
