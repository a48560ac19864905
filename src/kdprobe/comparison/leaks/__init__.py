"""Do students' answers show traces of the priming, which only the teacher read?"""
