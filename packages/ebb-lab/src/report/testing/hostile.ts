/** Names that would inject markup, a script, a chart format or a terminal command if they were not escaped. */
export const HOSTILE = [
  '<img src=x onerror=alert(1)>',
  '</script><script>alert(1)</script>',
  '</title></text></svg><svg onload=alert(1)>',
  '"\'& onmouseover="alert(1)" x=\'',
  '{b}{a|rich}\u2028\u2029\x00\x1b[31m\ud800\u202e',
  'javascript:alert(1) <a href="javascript:alert(1)">x</a>'
]
