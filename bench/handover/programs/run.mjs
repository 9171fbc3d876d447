/** `ebb run`, as the command of the library runs it. */
import { runCommand } from 'ebb/run'

await runCommand(process.argv.slice(2))
