/** Error messages for values of the command line. */
import type { Argument, Command, Option } from 'commander'
import { clean, fit } from '../../units/text.js'
import { ValueError } from './values.js'

/** Columns of a refused value in an error message. */
const SHOWN = 40

/**
 * Names the option and the value in front of the message when a parser of `command` refuses a value:
 * `--port "99999": a port is a whole number from 0 to 65535`.
 */
export function nameBadValues(command: Command): void {
  for (const option of command.options) wrap(option, option.long ?? option.flags)
  for (const argument of command.registeredArguments) wrap(argument, `<${argument.name()}>`)
}

function wrap(target: Option | Argument, name: string): void {
  const { parseArg } = target
  if (parseArg === undefined) return
  target.parseArg = (text, previous) => {
    try {
      return parseArg(text, previous)
    } catch (error) {
      if (!(error instanceof ValueError)) throw error
      throw new ValueError(`${name} ${JSON.stringify(fit(clean(text), SHOWN))}: ${error.message}`)
    }
  }
}
