/** Accepts long options with one dash, as Go's `flag` package does: `-big=10000 -i 3 -bs=30`. */

/** Short spellings of the pulse options. */
const SHORT: Record<string, string> = {
  b: 'big',
  i: 'iterations',
  bs: 'big-separation',
  s: 'small',
  ss: 'small-separation',
  l: 'linger'
}

/**
 * Returns the arguments with two dashes in place of one. Arguments after `--` belong to another command and stay as
 * they are.
 *
 * @param known long names of the command's options; an argument with one dash and any other name stays as it is
 */
export function twoDashes(args: readonly string[], known: ReadonlySet<string>): string[] {
  const end = args.indexOf('--')
  const own = end === -1 ? args : args.slice(0, end)
  const rest = end === -1 ? [] : args.slice(end)
  return [...own.map((arg) => twoDashesOnce(arg, known)), ...rest]
}

function twoDashesOnce(arg: string, known: ReadonlySet<string>): string {
  const match = /^-([a-zA-Z][\w-]*)(=.*)?$/s.exec(arg)
  if (match === null) return arg
  const [, typed = '', value = ''] = match
  const name = SHORT[typed] ?? typed
  return known.has(name) ? `--${name}${value}` : arg
}

/** Returns the option of a name as it is typed: `--big-separation` for `bigSeparation`. */
export function dashed(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}
