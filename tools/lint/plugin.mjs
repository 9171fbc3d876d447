/**
 * Rules of this project for Oxlint (API of ESLint plugins). `.oxlintrc.json` says where they apply;
 * `test/rules.test.ts` breaks each of them once.
 */

import { isTooWide, WIDTH } from '../prose/width.mjs'

/** Node's own modules without documentation: `_http_common`, `internal/util`. */
const UNDOCUMENTED_MODULE = /^(?:node:)?(?:_[a-z]|internal\/)/
/** Functions of documented objects that lead inside Node. */
const UNDOCUMENTED_FUNCTIONS = new Set(['process.binding', 'process.dlopen', 'EventEmitter.init'])
/** Functions that list symbols. A symbol of Node's is found only by its description. */
const SYMBOL_LISTS = new Set(['Object.getOwnPropertySymbols', 'Reflect.ownKeys'])
/** Nodes in which a string is a part of a text, not the name of a property. */
const TEXTS = new Set(['ConditionalExpression', 'TemplateLiteral'])

/** A name with one underscore in front, as Node's undocumented properties have. */
function isUndocumented(name) {
  return typeof name === 'string' && /^_[A-Za-z]/.test(name)
}

/** Text of a string or of a template without expressions, or undefined. */
function textOf(node) {
  if (node?.type === 'Literal' && typeof node.value === 'string') return node.value
  if (node?.type === 'TemplateLiteral' && node.expressions.length === 0) return node.quasis[0].value.cooked
  return undefined
}

/** Name of a property key or member, or undefined if it is computed at run time. */
function nameOf(key, computed) {
  return key.type === 'Identifier' && !computed ? key.name : textOf(key)
}

/** The expression inside of `(x as T)`, `x!` and `<T>x`. */
function withoutCasts(node) {
  let inner = node
  while (/^TS(?:As|Satisfies|NonNull|TypeAssertion)/.test(inner?.type)) inner = inner.expression
  return inner
}

/** `a.b` as text, if both are plain names. */
function pathOf(member) {
  const object = withoutCasts(member.object)
  return object.type === 'Identifier' ? `${object.name}.${nameOf(member.property, member.computed)}` : ''
}

/** Only files in folders named `node/` depend on what Node does not document. */
const nodeInternals = {
  meta: { type: 'problem', schema: [] },
  create(context) {
    const reported = new Set()
    const report = (node, what) => {
      if (reported.has(node.range[0])) return
      reported.add(node.range[0])
      context.report({ node, message: `${what} is undocumented in Node: use it in a folder named node/ only.` })
    }
    const checkPath = (node, path) => {
      if (UNDOCUMENTED_FUNCTIONS.has(path)) report(node, path)
      else if (SYMBOL_LISTS.has(path)) report(node, `A symbol found with ${path}()`)
    }
    const checkKey = ({ key, computed }) => {
      const name = nameOf(key, computed)
      if (isUndocumented(name)) report(key, name)
    }
    const checkModule = (source) => {
      const name = textOf(withoutCasts(source))
      if (name !== undefined && UNDOCUMENTED_MODULE.test(name)) report(withoutCasts(source), `Module ${name}`)
    }
    const checkText = (node) => {
      const text = textOf(node)
      const { type, operator } = node.parent
      // `'_a' in b` and `b === '_a'` name a property; `a + '_b'` makes a text.
      if (isUndocumented(text) && !TEXTS.has(type) && operator !== '+') report(node, text)
    }
    return {
      MemberExpression(node) {
        const name = nameOf(node.property, node.computed)
        if (isUndocumented(name)) report(node.property, name)
        else checkPath(node, pathOf(node))
      },
      // `const { binding } = process`
      VariableDeclarator({ id, init }) {
        const object = withoutCasts(init)
        if (id.type !== 'ObjectPattern' || object?.type !== 'Identifier') return
        for (const { key, computed } of id.properties)
          if (key !== undefined) checkPath(key, `${object.name}.${nameOf(key, computed)}`)
      },
      // A name in quotes, wherever it stands: an argument, a constant that is a key later.
      Literal: checkText,
      TemplateLiteral: checkText,
      // `{ _handle }`, also as a pattern; a type or class that has `_handle`.
      Property: checkKey,
      PropertyDefinition: checkKey,
      MethodDefinition: checkKey,
      TSPropertySignature: checkKey,
      TSMethodSignature: checkKey,
      ImportDeclaration: (node) => checkModule(node.source),
      ExportNamedDeclaration: (node) => checkModule(node.source),
      ExportAllDeclaration: (node) => checkModule(node.source),
      ImportExpression: (node) => checkModule(node.source),
      // require(), process.getBuiltinModule(), and whatever else takes the name of a module.
      CallExpression: (node) => checkModule(node.arguments[0])
    }
  }
}

/** Text of an expression that makes a path. What is known only at run time counts as a folder named `*`. */
function pathIn(node) {
  const text = textOf(node)
  if (text !== undefined) return text
  if (node?.type === 'TemplateLiteral') return node.quasis.map(({ value }) => value.cooked).join('*')
  if (node?.type === 'BinaryExpression' && node.operator === '+') return pathIn(node.left) + pathIn(node.right)
  if (node?.type === 'NewExpression') return [...node.arguments].reverse().map(pathIn).join('/')
  if (node?.type === 'CallExpression') return node.arguments.map(pathIn).join('/')
  return '*'
}

/** Benchmarks and tests start what the packages export, not files of `dist`. */
const noBuiltPath = {
  meta: { type: 'problem', schema: [] },
  create(context) {
    const reported = new Set()
    const check = (node) => {
      const line = node.loc.start.line
      if (reported.has(line) || !/(?:^|\/)packages\/+[^/]+\/+dist\b/.test(pathIn(node))) return
      reported.add(line)
      context.report({ node, message: 'Use an export or the bin of the package, not a path into its dist folder.' })
    }
    return {
      Literal: check,
      TemplateLiteral: check,
      BinaryExpression: check,
      // join('packages', 'ebb', 'dist'), new URL('dist/', new URL('packages/ebb/', root))
      CallExpression: check,
      NewExpression: check
    }
  }
}

/** `sys/libc.ts` alone loads koffi, whichever way. */
const noKoffi = {
  meta: { type: 'problem', schema: [] },
  create(context) {
    const check = (node) => {
      if (/^koffi(?:\/|$)/.test(textOf(node) ?? ''))
        context.report({ node, message: 'Only packages/ebb/src/sys/libc.ts loads koffi.' })
    }
    return { Literal: check, TemplateLiteral: check }
  }
}

/** Outside of `packages/ebb/src/sys`, nothing calls the C library: not by way of `ebb/sys` either. */
const noLibc = {
  meta: { type: 'problem', schema: [] },
  create(context) {
    const message = "Use the functions and `constants` of 'ebb/sys' by name, not libc: only sys/ calls the C library."
    const isSys = (source) => textOf(withoutCasts(source)) === 'ebb/sys'
    const check = (node) => {
      if (isSys(node)) context.report({ node, message })
    }
    return {
      ImportDeclaration({ source, specifiers }) {
        if (!isSys(source)) return
        for (const node of specifiers)
          if (node.type !== 'ImportSpecifier' || nameOf(node.imported) === 'libc') context.report({ node, message })
      },
      ExportNamedDeclaration({ source, specifiers }) {
        if (source === null || !isSys(source)) return
        for (const node of specifiers) if (nameOf(node.local) === 'libc') context.report({ node, message })
      },
      // These give all exports at once, libc too.
      ExportAllDeclaration: (node) => check(node.source),
      ImportExpression: (node) => check(node.source),
      CallExpression: (node) => check(node.arguments[0])
    }
  }
}

/** The check of import direction sees `import`, and `import()` and `require()` of a name in quotes. Nothing else. */
const visibleImports = {
  meta: { type: 'problem', schema: [] },
  create(context) {
    /** Local names of `createRequire`, and names of the functions that it made. */
    const makers = new Set(['createRequire'])
    const made = new Set()
    const makes = (node) => {
      const call = withoutCasts(node)
      if (call?.type !== 'CallExpression') return false
      const { callee } = call
      return makers.has(callee.type === 'MemberExpression' ? nameOf(callee.property, callee.computed) : callee.name)
    }
    return {
      ImportSpecifier({ imported, local }) {
        if (nameOf(imported) === 'createRequire') makers.add(local.name)
      },
      VariableDeclarator({ id, init }) {
        if (id.type === 'Identifier' && makes(init)) made.add(id.name)
      },
      CallExpression(node) {
        if (!made.has(node.callee.name) && !makes(node.callee)) return
        const name = textOf(withoutCasts(node.arguments[0]))
        if (name?.endsWith('.json')) return
        if (name === undefined || /^(?:\.|\/|file:|ebb(?:-lab)?(?:\/|$))/.test(name))
          context.report({ node, message: 'The check of import direction cannot see this: use import.' })
      },
      ImportExpression(node) {
        if (textOf(withoutCasts(node.source)) === undefined)
          context.report({ node, message: 'The check of import direction cannot see this: name the module in quotes.' })
      }
    }
  }
}

/** A benchmark starts programs of its own folder and of `bench/harness/`, as it imports from there. */
const benchmarksApart = {
  meta: { type: 'problem', schema: [] },
  create(context) {
    const [, bench, own] = /^(.*\/bench\/)([^/]+)\//.exec(context.filename.replaceAll('\\', '/')) ?? []
    if (bench === undefined) return {}
    return {
      Literal(node) {
        const text = textOf(node)
        // The check of import direction sees an import.
        if (text === undefined || !text.startsWith('../') || node.parent.type === 'ImportDeclaration') return
        const { pathname } = new URL(text, `file://${context.filename}`)
        const [folder, file] = pathname.startsWith(bench) ? pathname.slice(bench.length).split('/') : []
        if (file && folder !== own && folder !== 'harness')
          context.report({ node, message: `bench/${folder}/ belongs to another benchmark: share by bench/harness/.` })
      }
    }
  }
}

/** Comments end at column {@link WIDTH}, as code does (Biome sees to that, but leaves comments alone). */
const commentWidth = {
  meta: { type: 'layout', schema: [] },
  create(context) {
    return {
      Program() {
        const { sourceCode } = context
        const checked = new Set()
        for (const { loc } of sourceCode.getAllComments()) {
          for (let line = loc.start.line; line <= loc.end.line; line++) {
            if (checked.has(line) || !isTooWide(sourceCode.lines[line - 1])) continue
            checked.add(line)
            const start = { line, column: WIDTH }
            const end = { line, column: sourceCode.lines[line - 1].length }
            context.report({ loc: { start, end }, message: `Comment is wider than ${WIDTH} columns.` })
          }
        }
      }
    }
  }
}

export default {
  meta: { name: 'ebb' },
  rules: {
    'benchmarks-apart': benchmarksApart,
    'comment-width': commentWidth,
    'node-internals': nodeInternals,
    'no-built-path': noBuiltPath,
    'no-koffi': noKoffi,
    'no-libc': noLibc,
    'visible-imports': visibleImports
  }
}
